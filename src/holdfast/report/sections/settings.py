"""Methods of a grid along each setting that it varies, and what each gain costs in forgetting."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from holdfast.analysis.axes import Axis, Series, axes_of, plain, series_along, shown
from holdfast.analysis.method import MethodView, by_family
from holdfast.analysis.views import Analysis
from holdfast.report.panels import arms, cross, entry, family_colours, fit, legend, panels
from holdfast.report.rows import METHOD, METRIC_COLUMNS, SEEDS, Row, many, metrics, rules
from holdfast.report.section import Drawing, Section
from holdfast.report.style import MUTED, WIDTH, Looks, scaled
from holdfast.report.table import Column, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = (
    ("avg_acc", "AvgAcc, %"),
    ("fm", "FM, points"),
    ("plasticity", "Plasticity, %"),
    ("general", "General, points"),
)
MOST_LINES = 8  # with a legend entry each; beyond that a legend names families alone
MOST_NAMED = 6  # categories that are named in the figure
MOST_LEVELS = 4  # methods outside the grid that are drawn as level lines
DASHES = ("-", "--", "-.", ":")
LEVEL = (0, (1, 1.5))


def section(analysis: Analysis) -> Section:
    axes = axes_of(analysis.methods)
    note = "Mean over seeds; shaded: 95 % interval. Dotted: methods outside the grid."
    drawings = [
        Drawing(_name(axis), f"Metrics along {axis.name}", note, partial(axis_figure, axis)) for axis in axes
    ]
    pareto = Drawing(
        "pareto",
        "What a gain costs",
        "A curve per family through its settings, in their own order (points alone where settings are "
        "categories), with 95 % intervals. At equal gain (the same place from left to right) the higher "
        "curve forgot less. Colours go from pale to dark through a family's settings.",
        pareto_figure,
    )
    tables = [axis_table(analysis, axis, fold=many(analysis) and axis is not axes[0]) for axis in axes]
    note = "Methods made by a grid, compared along each setting that it varies."
    return Section("settings", "Along the settings", "Settings", [*drawings, pareto, *tables], note)


def _name(axis: Axis) -> str:
    return "along_" + re.sub(r"[^\w-]+", "_", axis.name, flags=re.ASCII)[:80]  # as bundles take it


def axis_table(analysis: Analysis, axis: Axis, *, fold: bool = False) -> Table:
    """The metrics along one axis, families one below the other."""
    columns = [
        Column("family", "Family", help="the method whose setting varies"),
        *(
            Column(f"setting_{other.name}", other.name)
            for other in sorted(axes_of(analysis.methods), key=lambda other: other.name == axis.name)
        ),
        METHOD,
        SEEDS,
        *METRIC_COLUMNS,
    ]
    if not analysis.results.general:
        columns.pop()
    rows: list[Row] = []
    for series in series_along(axis, analysis.methods):
        for method in series.methods:
            row: Row = {"family": series.family, "method": method.label}
            row |= {f"setting_{name}": shown(value) for name, value in method.axes.items()}
            rows.append(row | metrics(method))
    note = "Percentage points, mean over seeds [95 % interval]. Settings that do not vary are left out."
    title, classes = f"Along {axis.name}", rules(rows, "family")
    return Table(_name(axis), title, columns, rows, note, classes, tight=True, fold=fold)


def axis_figure(axis: Axis, analysis: Analysis, looks: Looks) -> Figure:
    """The metrics along one axis, a panel each, a line per family and other settings."""
    lines = series_along(axis, analysis.methods)
    measured = [one for one in METRICS if one[0] != "general" or analysis.results.general]
    figure, grid = panels(len(measured), len(measured))
    for axes, (metric, title) in zip(grid, measured, strict=True):
        for series in lines:
            _line(axes, axis, series, lines, metric, looks)
        for method in _levels(analysis):
            value = method.metric(metric).value
            if not np.isnan(value):
                axes.axhline(100 * value, color=looks[method.name].colour, linewidth=1, linestyle=LEVEL)
        if axis.logarithmic:
            axes.set_xscale("log")
        else:
            axes.set_xlim(-0.3, len(axis.values) - 0.7)
        axes.minorticks_off()
        axes.set_xticks([axis.position(value) for value in axis.values], [shown(v) for v in axis.values])
        axes.set_title(title)
        axes.set_xlabel(axis.name)
    _series_legend(figure, analysis, lines, looks)
    return fit(figure, 1.75)


def _line(axes: Axes, axis: Axis, series: Series, lines: Sequence[Series], metric: str, looks: Looks) -> None:
    found = [method.metric(metric) for method in series.methods]
    x = np.array([axis.position(plain(method.axes[axis.name])) for method in series.methods])
    middle, low, high = (
        100 * np.array([getattr(one, end) for one in found]) for end in ("value", "low", "high")
    )
    colour, dashes = _style(series, lines, looks)
    if axis.ordered:
        band = 0.13 if len(lines) <= 3 else 0.05  # many bands on one another would hide the lines
        axes.fill_between(x, low, high, color=colour, alpha=band, linewidth=0)
        axes.plot(x, middle, color=colour, linestyle=dashes, marker="o", markersize=3.6, linewidth=1.4)
    else:  # categories stand side by side: there is nothing between them
        aside = 0.5 * (lines.index(series) - (len(lines) - 1) / 2) / len(lines)
        axes.errorbar(
            x + aside, middle, yerr=arms(*found), color=colour, linestyle="none", marker="o", markersize=4.5
        )


def _levels(analysis: Analysis) -> list[MethodView]:
    """Methods outside the grid, to compare with, where they are few."""
    outside = [method for method in analysis.sequential if not method.axes]
    return outside if len(outside) <= MOST_LEVELS else []


def _style(series: Series, lines: Sequence[Series], looks: Looks) -> tuple[str, str]:
    """Families differ in colour; lines of one family in shade, that of some method of it, and dashes."""
    family = [other for other in lines if other.family == series.family]
    names = {method.name for other in family for method in other.methods}
    shades = [look.colour for name, look in looks.items() if name in names]  # from pale to dark
    place = family.index(series)
    depth = place / (len(family) - 1) if len(family) > 1 else 0.5
    return shades[round(depth * (len(shades) - 1))], DASHES[place % len(DASHES)]


def _series_legend(figure: Figure, analysis: Analysis, lines: Sequence[Series], looks: Looks) -> None:
    few = len(lines) <= MOST_LINES
    named = {series.name if few else series.family: series for series in reversed(lines)}  # the first of each
    handles = []
    for name, series in reversed(named.items()):
        colour, dashes = _style(series, lines, looks)
        handles.append(entry(name, colour, linestyle=dashes, marker="o", markersize=3.6))
    for method in _levels(analysis):
        handles.append(entry(method.label, looks[method.name].colour, linestyle=LEVEL))
    legend(figure, handles)


def pareto_figure(analysis: Analysis, looks: Looks) -> Figure | None:
    """Learned against FM and against general change, a curve per family; None without a grid."""
    finished = [method for method in analysis.sequential if method.draws.complete]
    if not any(method.axes for method in finished) or len(analysis.results.sequence) < 2:
        return None
    measured = [("fm", "FM, points", "Gain against forgetting")]
    if analysis.results.general:
        measured.append(("general", "general: end minus base, points", "Gain against general ability"))
    families = by_family(finished)
    ordered = {axis.name: axis for axis in axes_of(analysis.methods) if axis.ordered}
    for members in families.values():
        if (name := _one_axis(members)) in ordered:
            position = ordered[name].position
            members.sort(key=lambda method: position(method.axes[name]))
    middle = family_colours(analysis.methods, looks)
    marks = _marks(families.values(), looks)
    figure, grid = panels(len(measured), len(measured), WIDTH / 2 * len(measured))
    for axes, (metric, axis_label, title) in zip(grid, measured, strict=True):
        for family, members in families.items():
            points = [(m, m.metric("learned"), m.metric(metric)) for m in members]
            xs, ys = [100 * x.value for _, x, _ in points], [100 * y.value for _, _, y in points]
            if _one_axis(members) in ordered:
                axes.plot(xs, ys, color=middle[family], linewidth=1.2, alpha=0.6, zorder=1)
            for method, x, y in points:
                cross(axes, x, y, looks[method.name], size=5.5, width=0.8 if len(finished) <= 12 else 0.35)
            if metric == "fm" and not marks:
                _name_points(axes, members, ordered)
        axes.axhline(0, color=MUTED, linewidth=0.9)
        axes.margins(0.09)
        axes.set_title(title)
        axes.set_xlabel("learned: just trained minus base, points")
        axes.set_ylabel(axis_label)
    handles = [entry(family, middle[family], marker="o") for family in families]
    handles += [entry(value, MUTED, marker=marker, linestyle="none") for marker, value in marks.items()]
    legend(figure, handles)
    return fit(figure, 2.7)


def _one_axis(members: Sequence[MethodView]) -> str | None:
    """The one setting that tells the methods apart; None where it is none or several."""
    names = {name for method in members for name in method.axes}
    return names.pop() if len(names) == 1 and len(members) > 1 else None


def _marks(families: Collection[Sequence[MethodView]], looks: Looks) -> dict[str, str]:
    """Marker -> value, where all families of several settings vary one setting alike; else empty."""
    several = [members for members in families if len(members) > 1]
    names = {_one_axis(members) for members in several}
    if len(several) < 2 or len(names) > 1 or (name := names.pop()) is None:
        return {}
    marks: dict[str, str] = {}
    for method in (method for members in several for method in members):
        value = f"{name} {shown(method.axes[name])}"
        if marks.setdefault(looks[method.name].marker, value) != value:
            return {}
    return marks if len(set(marks.values())) == len(marks) else {}


def _name_points(axes: Axes, members: Sequence[MethodView], ordered: Mapping[str, Axis]) -> None:
    """Where one setting tells the methods apart: its first and last value, or each of a few categories."""
    if (name := _one_axis(members)) is None:
        return
    categories = name not in ordered
    if categories and len(members) > MOST_NAMED:
        return
    for method in members if categories else (members[0], members[-1]):
        side = -1 if method is members[0] else 1
        at = (100 * method.metric("learned").value, 100 * method.metric("fm").value)
        axes.annotate(
            shown(method.axes[name]), at, (5 * side, 5), textcoords="offset points",
            ha="left" if side > 0 else "right", fontsize=scaled(7), color=MUTED, zorder=5,
        )  # fmt: skip
