"""What forgetting goes with: predictors of it, stage by stage and over whole chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from holdfast.analysis.method import by_family
from holdfast.analysis.predictors import (
    CHAIN_OUTCOMES,
    CHAIN_PREDICTORS,
    LEAST_KL,
    MIN_METHODS,
    STAGE_OUTCOMES,
    STAGE_PREDICTORS,
    Strength,
    Unit,
    fitted,
)
from holdfast.analysis.views import Analysis
from holdfast.report.panels import entry, family_colours, first_column, fit, legend, panels
from holdfast.report.rows import Row, rules
from holdfast.report.section import Drawing, Section
from holdfast.report.style import MUTED, WIDTH, Looks, scaled
from holdfast.report.table import Column, Table, rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 4  # predictors in the figure
# What its axes are in, by the first word of a predictor, and the factor to it.
UNITS = {"kl": (", nats", 1), "share": (", %", 100), "progress": (", points", 100)}
NOTE = (
    "Spearman's rank correlation and R² of a quadratic fit (as in RL's Razor, arXiv 2509.04259; of "
    "divergences, to their logarithm) with the change of accuracy [95 % interval, whole methods with all "
    f"their seeds and stages resampled; none for fewer than {MIN_METHODS} methods]. A change is negative "
    "where something was forgotten, so what goes with forgetting correlates negatively. Adjusted: for the "
    "two slopes of the fit, so that noise scores about 0. Unseen: on methods left out of the fit; below 0 it "
    "is of no use."
)
COLUMNS = [
    Column("outcome", "Change of", help="accuracy; negative is forgetting"),
    Column("predictor", "Predictor"),
    Column("units", "Points", "count", "stages, or chains, that have both numbers"),
    Column("methods", "Methods", "count", "they come from"),
    Column("rho", "Spearman", "coefficient", "rank correlation, −1 to 1"),
    Column("adjusted", "R², adjusted", "coefficient", "corrected for the two slopes of the fit"),
    Column("r2", "R²", "coefficient", "as RL's Razor reports it"),
    Column("unseen", "R², unseen", "coefficient", "on methods left out of the fit"),
]


def section(analysis: Analysis) -> Section:
    by_stage, by_chain = predictor_tables(analysis)
    drawing = Drawing(
        "predictors",
        "The strongest predictors",
        "A point per stage after the first, of every method and seed, with the quadratic fit. Below 0: "
        "earlier tasks got worse. These are the strongest of all that were tried, one of each kind; the "
        "table has every one.",
        predictor_figure,
    )
    return Section("why", "Why: what forgetting goes with", "Why", [drawing, by_stage, by_chain])


def predictor_tables(analysis: Analysis) -> tuple[Table, Table]:
    """How well each predictor explains forgetting: over stages, and over whole chains."""
    stages = _rows(analysis.study.by_stage, STAGE_PREDICTORS, STAGE_OUTCOMES)
    chains = _rows(analysis.study.by_chain, CHAIN_PREDICTORS, CHAIN_OUTCOMES)
    return (
        _table("predictors", "stage by stage", stages),
        _table("predictors_chains", "base to end", chains, fold=True),
    )


def _table(name: str, over: str, rows: list[Row], *, fold: bool = False) -> Table:
    title, classes = f"What predicts forgetting, {over}", rules(rows, "outcome")
    return Table(name, title, COLUMNS, rows, NOTE, classes, tight=True, fold=fold)


def _rows(found: list[Strength], predictors: Mapping[str, str], outcomes: Mapping[str, str]) -> list[Row]:
    """The strongest first within each outcome."""
    place = list(outcomes).index
    return [
        {column.key: getattr(one, column.key) for column in COLUMNS}
        | {"outcome": outcomes[one.outcome], "predictor": predictors[one.predictor]}
        for one in sorted(found, key=lambda one: (place(one.outcome), -one.adjusted.value))
    ]


def _best(found: list[Strength]) -> list[Strength]:
    """The strongest for earlier tasks, one of each kind: two directions of one KL look alike."""
    kinds: dict[str, Strength] = {}
    for one in sorted(found, key=lambda one: -one.adjusted.value):
        if one.outcome == "old":
            weights = one.predictor in ("l2", "relative", "share_1e-4")
            kinds.setdefault("weights" if weights else one.predictor.replace("reverse", "forward"), one)
    return list(kinds.values())[:SHOWN]


def predictor_figure(analysis: Analysis, looks: Looks) -> Figure | None:
    """The strongest predictors against the change of earlier tasks, a point per stage; None without."""
    best = _best(analysis.study.by_stage)
    if not best:
        return None
    families = by_family(analysis.methods)
    colours = family_colours(analysis.methods, looks)
    markers = dict(zip(families, "os^DvPXh*<>pd", strict=False))
    across = min(2, len(best))
    figure, grid = panels(len(best), across, WIDTH / 2 * across, sharey=True)
    drawn = set()
    for axes, one in zip(grid, best, strict=True):
        unit_name, scale = UNITS.get(one.predictor.partition("_")[0], ("", 1))
        units = [unit for unit in analysis.study.stages if np.isfinite(unit.predictors[one.predictor])]
        for family, members in families.items():
            names = {method.name for method in members}
            if points := [unit for unit in units if unit.method in names]:
                drawn.add(family)
                axes.plot(
                    [scale * unit.predictors[one.predictor] for unit in points],
                    [100 * unit.outcomes["old"] for unit in points],
                    linestyle="none", marker=markers.get(family, "o"), markersize=4, alpha=0.6,
                    color=colours[family], markeredgewidth=0,
                )  # fmt: skip
        _fit_curve(axes, one, units, scale)
        rho, r2 = rounded(one.rho.value, 2), rounded(one.adjusted.value, 2)
        axes.set_title(f"rank correlation {rho}, adjusted R² {r2}", fontweight="normal", fontsize=scaled(8.5))
        axes.set_xlabel(STAGE_PREDICTORS[one.predictor] + unit_name)
        if first_column(axes):
            axes.set_ylabel("change of earlier\ntasks, points")
    handles = [
        entry(family, colours[family], linestyle="none", marker=markers.get(family, "o"))
        for family in families
        if family in drawn
    ]
    legend(figure, handles)
    return fit(figure, 1.6)


def _fit_curve(axes: Axes, one: Strength, units: list[Unit], scale: int) -> None:
    values = np.array([unit.predictors[one.predictor] for unit in units])
    if one.predictor.startswith("kl_"):
        axes.set_xscale("log")
        x = np.geomspace(max(values.min(), LEAST_KL), max(values.max(), LEAST_KL), 80)
    else:
        x = np.linspace(values.min(), values.max(), 80)
    a, b, c = one.curve
    along = fitted(one.predictor, x)
    axes.plot(scale * x, 100 * (a + b * along + c * along**2), color=MUTED, linewidth=1.3)
    axes.axhline(0, color=MUTED, linewidth=0.7)
