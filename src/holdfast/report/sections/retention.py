"""Strategies against forgetting: whether they did anything, and what they cost for what they kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdfast.analysis.axes import shown
from holdfast.analysis.method import MethodView
from holdfast.analysis.views import Analysis
from holdfast.report.labels import name_points
from holdfast.report.panels import arms, fit, method_legend, panels
from holdfast.report.rows import METHOD, METRIC_COLUMNS, Row, metrics, strategies_of
from holdfast.report.section import Drawing, Section
from holdfast.report.sections.training import per_seed, through
from holdfast.report.style import WIDTH, Looks
from holdfast.report.table import Column, Table, rounded, used

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE = "_share"  # what keys of a strategy's share, of the gradient or the batch, end with
CROWDED = 12  # methods; of more, each has its family's name beside it and no legend
LEAST = 0.01  # below which a strategy hardly counts


def section(analysis: Analysis) -> Section:
    found = strategies(analysis)
    caption = (
        "Percentage points, with 95 % intervals; better is up and to the right. The larger a point, the more "
        "operations its training took."
    )
    return Section(
        "retention",
        "Against forgetting",
        "Retention",
        [found, Drawing("retention", "Final average against forgetting", caption, trade)]
        if found.rows
        else [],
        cautions=_silent(found),
    )


def strategies(analysis: Analysis) -> Table:
    """What each strategy took of the gradient, and how its method came out; and methods without one."""
    rows: list[Row] = []
    used_by = {method.name: strategies_of(analysis, method) for method in analysis.sequential}
    for method in analysis.sequential if any(used_by.values()) else ():
        shares = _shares(method)
        for kind, settings in used_by[method.name].items() or ((None, {}),):  # without one, to compare with
            said = ", ".join(f"{key} {shown(value)}" for key, value in settings.items())
            row: Row = {"method": method.label, "strategy": kind, "settings": said or None}
            row["share"] = shares.get(kind) if kind else None
            row |= {key: value for key, value in metrics(method).items() if key != "seeds"}
            rows.append(row | {"ctm": analysis.ctm(method), "flops": _operations(method)})
    columns = [
        METHOD,
        Column("strategy", "Strategy"),
        Column("share", "Its share", "points", "of a step's gradient, by norm; of replay, that of the batch"),
        *METRIC_COLUMNS,
        Column("ctm", "CTM", "coefficient", "AvgAcc over that of joint training by the same objective"),
        Column("flops", "Operations", "flop", "of learning, all stages of a seed"),
        Column("settings", "Its settings"),
    ]
    note = "Shares are medians over the steps of all stages but the first, where there is nothing to retain."
    return Table("retention", "Strategies against forgetting", used(columns, rows), rows, note)


def trade(analysis: Analysis, looks: Looks) -> Figure | None:
    """AvgAcc against FM, a point a method, as large as its cost."""
    methods = [method for method in analysis.sequential if method.draws.complete]
    costs = {method.name: _operations(method) for method in methods}
    most = max((cost for cost in costs.values() if cost), default=0)
    if len(methods) < 2 or len(analysis.results.sequence) < 2:
        return None
    crowded = len(methods) > CROWDED
    figure, (axes,) = panels(1, 1, WIDTH * (1 if crowded else 0.75))
    places, sizes = list[tuple[float, float]](), list[float]()
    for method in methods:
        fm, average, look = method.metric("fm"), method.metric("avg_acc"), looks[method.name]
        cost, place = costs[method.name], (100 * fm.value, 100 * average.value)
        size = 4 + 8 * (cost / most) ** 0.5 if cost and most else 6
        axes.errorbar(
            *place, xerr=arms(fm), yerr=arms(average), color=look.colour, fmt="none",
            elinewidth=0.5 if crowded else 1, alpha=0.3 if crowded else 0.85,
        )  # fmt: skip
        axes.plot(*place, look.marker, color=look.colour, markersize=size, alpha=0.85)
        places.append(place)
        sizes.append(size)
    axes.set_xlabel("FM, points")
    axes.set_ylabel("AvgAcc, points")
    axes.margins(0.08)
    if not crowded:
        method_legend(figure, methods, looks)
        return fit(figure, 3.4)
    fit(figure, 5)
    colours = [looks[method.name].colour for method in methods]
    name_points(axes, [method.family for method in methods], places, sizes, colours)
    return figure


def _shares(method: MethodView) -> dict[str, float]:
    """The median share of each strategy, by its name."""
    found: dict[str, list[float]] = {}
    rows = (row for run in method.runs for stage in run.curves[1:] for row in stage)
    for key, value in (item for row in rows for item in row.items()):
        if key.endswith(SHARE) and isinstance(value, int | float):
            found.setdefault(key.removesuffix(SHARE), []).append(float(value))
    return {kind: float(np.median(values)) for kind, values in found.items()}


def _operations(method: MethodView) -> float | None:
    """Floating-point operations of learning per seed, as far as stages tell them; None where none does."""
    runs = through(method)
    return per_seed([total for run in runs for total in run.totals], "flops", len(runs)) if runs else None


def _silent(found: Table) -> list[str]:
    """Strategies that hardly touched the gradient: their methods say nothing about them."""
    return [
        f"{row['strategy']} of {row['method']} had a share of {rounded(share, 2, times=100)} %: it did "
        "next to nothing, and its method is as good as one without it. Raise its strength, or its share."
        for row in found.rows
        if isinstance(share := row["share"], float) and share < LEAST
    ]
