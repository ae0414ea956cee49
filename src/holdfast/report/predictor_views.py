"""Tables and figure of the predictor study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from holdfast.forgetting.predictors import (
    CHAIN_OUTCOMES,
    CHAIN_PREDICTORS,
    LEAST_KL,
    MIN_METHODS,
    STAGE_OUTCOMES,
    STAGE_PREDICTORS,
    Strength,
    fitted,
)
from holdfast.report.analysis import Analysis
from holdfast.report.style import MUTED, WIDTH, Look
from holdfast.report.table import Column, Table, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4  # predictors in the figure


def predictor_tables(analysis: Analysis) -> list[Table]:
    """How well each predictor explains forgetting: over stages, and over whole chains."""
    note = (
        "Spearman's rank correlation and R² of a quadratic fit (as in RL's Razor, arXiv 2509.04259; of "
        "divergences, to their logarithm) with the "
        "change of accuracy [95 % interval, whole methods with all their seeds and stages resampled; none "
        f"for fewer than {MIN_METHODS} methods]. A change is "
        "negative where something was forgotten, so what goes with forgetting correlates negatively. "
        "Adjusted: for the two slopes of the fit, so that noise scores about 0. Unseen: on methods left out "
        "of the fit; below 0 it is of no use."
    )
    study = analysis.study
    stages = _rows(study.by_stage, STAGE_PREDICTORS, STAGE_OUTCOMES)
    chains = _rows(study.by_chain, CHAIN_PREDICTORS, CHAIN_OUTCOMES)
    columns = [
        Column("outcome", "Change of", help="accuracy; negative is forgetting"),
        Column("predictor", "Predictor"),
        Column("units", "Points", "count", "stages, or chains, that have both numbers"),
        Column("methods", "Methods", "count", "they come from"),
        Column("rho", "Spearman", "coefficient", "rank correlation, −1 to 1"),
        Column("adjusted", "R², adjusted", "coefficient", "corrected for the two slopes of the fit"),
        Column("r2", "R²", "coefficient", "as RL's Razor reports it"),
        Column("unseen", "R², unseen", "coefficient", "on methods left out of the fit"),
    ]
    return [
        Table(
            "predictors", "What predicts forgetting, stage by stage", columns, stages, note, _rules(stages)
        ),
        Table(
            "predictors_chains",
            "What predicts forgetting, base to end",
            columns,
            chains,
            note,
            _rules(chains),
        ),
    ]


def _rows(
    found: list[Strength], predictors: Mapping[str, str], outcomes: Mapping[str, str]
) -> list[dict[str, Value]]:
    """The strongest first within each outcome."""
    place = {outcome: index for index, outcome in enumerate(outcomes)}
    rows: list[dict[str, Value]] = []
    for one in sorted(found, key=lambda one: (place[one.outcome], -one.adjusted.value)):
        rows.append(
            {
                "outcome": outcomes[one.outcome],
                "predictor": predictors[one.predictor],
                "units": one.units,
                "methods": one.methods,
                "rho": one.rho,
                "adjusted": one.adjusted,
                "r2": one.r2,
                "unseen": one.unseen,
            }
        )
    return rows


def _rules(rows: list[dict[str, Value]]) -> dict[int, str]:
    """A rule above each outcome but the first."""
    return {
        index: "next" for index in range(1, len(rows)) if rows[index]["outcome"] != rows[index - 1]["outcome"]
    }


def _best(found: list[Strength]) -> list[Strength]:
    """The strongest for earlier tasks, one of each kind: two directions of one KL look alike."""
    kinds: dict[str, Strength] = {}
    for one in sorted(found, key=lambda one: -one.adjusted.value):
        if one.outcome == "old":
            weights = one.predictor in ("l2", "relative", "share_1e-4")
            kinds.setdefault("weights" if weights else one.predictor.replace("reverse", "forward"), one)
    return list(kinds.values())[:SHOWN]


def predictor_figure(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """The strongest predictors against the change of earlier tasks, a point per stage; None without."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    best = _best(analysis.study.by_stage)
    if not best:
        return None
    family = {method.name: method.family for method in analysis.methods}
    members: dict[str, list[str]] = {}
    for name, group in family.items():
        members.setdefault(group, []).append(name)
    look = {group: looks[names[len(names) // 2]] for group, names in members.items()}
    markers = dict(zip(members, "os^DvPXh*<>pd", strict=False))
    across = min(2, len(best))
    down = -(-len(best) // across)
    height = 2.55 * down + 0.45
    figure = Figure(figsize=(WIDTH / 2 * across, height))
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    figure.subplots_adjust(0.16 / across, 0.5 / height, 0.985, 1 - 0.65 / height, 0.08, 0.5)
    drawn = set()
    for axes, one in zip(grid.flat, best, strict=False):
        units = [unit for unit in analysis.study.stages if np.isfinite(unit.predictors[one.predictor])]
        for group in members:
            points = [unit for unit in units if family[unit.method] == group]
            if points:
                drawn.add(group)
                axes.plot(
                    [unit.predictors[one.predictor] for unit in points],
                    [100 * unit.outcomes["old"] for unit in points],
                    linestyle="none", marker=markers.get(group, "o"), markersize=4, alpha=0.6,
                    color=look[group].colour, markeredgewidth=0,
                )  # fmt: skip
        values = np.array([unit.predictors[one.predictor] for unit in units])
        if one.predictor.startswith("kl_"):
            axes.set_xscale("log")
            x = np.geomspace(max(values.min(), LEAST_KL), max(values.max(), LEAST_KL), 80)
        else:
            x = np.linspace(values.min(), values.max(), 80)
        a, b, c = one.curve
        along = fitted(one.predictor, x)
        axes.plot(x, 100 * (a + b * along + c * along**2), color=MUTED, linewidth=1.3)
        axes.axhline(0, color=MUTED, linewidth=0.7)
        rho, r2 = (f"{value:.2f}".replace("-", "−") for value in (one.rho.value, one.adjusted.value))
        axes.set_title(f"rank correlation {rho}, adjusted R² {r2}", fontweight="normal", fontsize=8.5)
        axes.set_xlabel(
            STAGE_PREDICTORS[one.predictor] + (", nats" if one.predictor.startswith("kl") else "")
        )
    for axes in list(grid.flat)[len(best) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel("change of earlier\ntasks, points")
    handles = [
        Line2D(
            [], [], linestyle="none", marker=markers.get(group, "o"), color=look[group].colour, label=group
        )
        for group in members
        if group in drawn
    ]
    figure.legend(handles=handles, loc="upper center", ncols=min(len(handles), 7))
    return figure
