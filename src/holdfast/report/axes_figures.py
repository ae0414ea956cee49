"""Figures of a grid: the measures along each axis, and what each gain costs in forgetting."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from holdfast.report.analysis import Analysis, MethodView
from holdfast.report.axes import Axis, Series, axes_of, plain, series_along, shown
from holdfast.report.figures import cross
from holdfast.report.style import MUTED, WIDTH, Look
from holdfast.report.tables import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = (("avg_acc", "AvgAcc, %"), ("fm", "FM"), ("plasticity", "Plasticity, %"), ("general", "General"))
MOST_LINES = 8  # with a legend entry each; beyond that a legend names families alone
MOST_NAMED = 6  # categories that are named in the figure
MOST_LEVELS = 4  # methods outside the grid that are drawn as level lines
DASHES = ("-", "--", "-.", ":")


def axes_figure(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """A row of panels per axis, a panel per measure, a line per family and other settings; None without."""
    from matplotlib.figure import Figure

    axes = axes_of(analysis)
    if not axes:
        return None
    measures = [entry for entry in MEASURES if entry[0] != "general" or analysis.results.general]
    rows = [series_along(axis, analysis.methods) for axis in axes]
    heads = [0.62 + 0.2 * (_legend_rows(analysis, series) - 1) for series in rows]  # inches
    feet = [0.68 + (0.047 * max(map(len, _ticks(axis))) if _crowded(axis) else 0) for axis in axes]
    panel = 1.75
    height = sum(heads) + sum(feet) + panel * len(axes) - 0.15  # nothing follows the last row
    figure = Figure(figsize=(WIDTH, height))
    top = height
    left, gap = 0.5, 0.52
    width = (WIDTH - 0.1 - left - gap * (len(measures) - 1)) / len(measures)
    for axis, series, head, foot in zip(axes, rows, heads, feet, strict=True):
        for column, (measure, title) in enumerate(measures):
            x = left + column * (width + gap)
            box = (x / WIDTH, (top - head - panel) / height, width / WIDTH, panel / height)
            _panel(figure.add_axes(box), analysis, axis, series, measure, looks)
            figure.axes[-1].set_title(title)
        _series_legend(figure, analysis, series, looks, top / height)
        top -= head + panel + foot
    return figure


def _panel(
    axes: Axes,
    analysis: Analysis,
    axis: Axis,
    lines: Sequence[Series],
    measure: str,
    looks: Mapping[str, Look],
) -> None:
    for place, series in enumerate(lines):
        found = [
            (axis.position(plain(method.axes[axis.name])), method.measure(measure))
            for method in series.methods
        ]
        there = [(x, value) for x, value in found if not np.isnan(value.value)]
        if not there:
            continue
        colour, dashes = _style(series, lines, looks)
        x, middle, low, high = (
            np.array(part) for part in zip(*((x, v.value, v.low, v.high) for x, v in there), strict=True)
        )
        if axis.ordered:
            band = 0.13 if len(lines) <= 3 else 0.05  # many bands on one another would hide the lines
            axes.fill_between(x, 100 * low, 100 * high, color=colour, alpha=band, linewidth=0)
            axes.plot(
                x, 100 * middle, color=colour, linestyle=dashes, marker="o", markersize=3.6, linewidth=1.4
            )
        else:  # categories stand side by side: there is nothing between them
            aside = 0.5 * (place - (len(lines) - 1) / 2) / len(lines)
            arms = 100 * np.maximum([middle - low, high - middle], 0)
            axes.errorbar(
                x + aside, 100 * middle, yerr=arms, color=colour, linestyle="none", marker="o", markersize=4.5
            )
    for method in _levels(analysis):
        value = method.measure(measure).value
        if not np.isnan(value):
            axes.axhline(100 * value, color=looks[method.name].colour, linewidth=1, linestyle=(0, (1, 1.5)))
    if axis.logarithmic:
        axes.set_xscale("log")
    axes.minorticks_off()
    crowded = _crowded(axis)
    axes.set_xticks(
        [axis.position(value) for value in axis.values],
        _ticks(axis),
        rotation=35 if crowded else 0,
        ha="right" if crowded else "center",
        rotation_mode="anchor" if crowded else None,
    )
    if not axis.logarithmic:
        axes.set_xlim(-0.3, len(axis.values) - 0.7)
    axes.set_xlabel(axis.name)


def _ticks(axis: Axis) -> list[str]:
    return [shown(value) for value in axis.values]


def _crowded(axis: Axis) -> bool:
    """Whether its values, side by side, would run into one another."""
    return sum(map(len, _ticks(axis))) > 20


def _levels(analysis: Analysis) -> list[MethodView]:
    """Methods outside the grid, to compare with, where they are few."""
    outside = [method for method in analysis.sequential if not method.axes]
    return outside if len(outside) <= MOST_LEVELS else []


def _style(series: Series, lines: Sequence[Series], looks: Mapping[str, Look]) -> tuple[str, str]:
    """Families differ in colour; lines of one family in shade, that of some method of it, and dashes."""
    family = [other for other in lines if other.family == series.family]
    names = {method.name for other in family for method in other.methods}
    shades = [look.colour for name, look in looks.items() if name in names]  # from pale to dark
    place = family.index(series)
    depth = place / (len(family) - 1) if len(family) > 1 else 0.5
    return shades[round(depth * (len(shades) - 1))], DASHES[place % len(DASHES)]


def _legend_rows(analysis: Analysis, lines: Sequence[Series]) -> int:
    names = _legend_names(lines) + [label(method) for method in _levels(analysis)]
    return -(-len(names) // _columns(names))


def _legend_names(lines: Sequence[Series]) -> list[str]:
    few = len(lines) <= MOST_LINES
    return [series.name for series in lines] if few else list(dict.fromkeys(s.family for s in lines))


def _columns(names: Sequence[str], most: int = 6) -> int:
    return max(1, min(len(names), most, int(WIDTH / (0.6 + 0.085 * max(map(len, names))))))


def _series_legend(
    figure: Figure, analysis: Analysis, lines: Sequence[Series], looks: Mapping[str, Look], top: float
) -> None:
    from matplotlib.lines import Line2D

    names = _legend_names(lines)
    handles = []
    for name in names:
        series = next(s for s in lines if name in (s.name, s.family))
        colour, dashes = _style(series, lines, looks)
        handles.append(Line2D([], [], color=colour, linestyle=dashes, marker="o", markersize=3.6, label=name))
    for method in _levels(analysis):
        colour = looks[method.name].colour
        handles.append(Line2D([], [], color=colour, linestyle=(0, (1, 1.5)), label=label(method)))
    columns = _columns([str(handle.get_label()) for handle in handles])
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, top), ncols=columns, handlelength=2.2
    )


def pareto_figure(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """Learned against FM and against general change, a curve per family; None without a grid."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    finished = [method for method in analysis.sequential if method.draws.complete]
    families: dict[str, list[MethodView]] = {}
    for method in finished:
        families.setdefault(method.family, []).append(method)
    if not any(method.axes for method in finished) or len(analysis.results.sequence) < 2:
        return None
    panels = [("fm", "FM, points", "Gain against forgetting")]
    if analysis.results.general:
        panels.append(("general", "general: end minus base, points", "Gain against general ability"))
    figure = Figure(figsize=(WIDTH / 2 * len(panels), 3.9))
    grid = figure.subplots(1, len(panels), squeeze=False)
    figure.subplots_adjust(0.16 / len(panels), 0.13, 0.985, 0.82, 0.24)
    order = [family for family in dict.fromkeys(m.family for m in analysis.methods) if family in families]
    ordered = {axis.name: axis for axis in axes_of(analysis) if axis.ordered}
    for members in families.values():
        if (name := _one_axis(members)) in ordered:
            position = ordered[name].position
            members.sort(key=lambda method: position(method.axes[name]))
    middle = {family: looks[_middle(analysis, family).name].colour for family in order}
    marks = _marks(families.values(), looks)
    for axes, (measure, axis_label, title) in zip(grid.flat, panels, strict=True):
        for family in order:
            points = [(m, m.measure("learned"), m.measure(measure)) for m in families[family]]
            xs, ys = [100 * x.value for _, x, _ in points], [100 * y.value for _, _, y in points]
            if _one_axis(families[family]) in ordered:
                axes.plot(xs, ys, color=middle[family], linewidth=1.2, alpha=0.6, zorder=1)
            for method, x, y in points:
                cross(axes, x, y, looks[method.name], size=5.5, width=0.8 if len(finished) <= 12 else 0.35)
        if measure == "fm" and not marks:
            for family in order:
                _name_points(axes, families[family], ordered)
        axes.axhline(0, color=MUTED, linewidth=0.9)
        axes.margins(0.09)
        axes.set_title(title)
        axes.set_xlabel("learned: just trained minus base, points")
        axes.set_ylabel(axis_label)
    handles = [Line2D([], [], color=middle[family], marker="o", label=family) for family in order]
    handles += [
        Line2D([], [], color=MUTED, marker=marker, linestyle="none", label=value)
        for marker, value in marks.items()
    ]
    names = [str(handle.get_label()) for handle in handles]
    figure.legend(handles=handles, loc="upper center", ncols=_columns(names, most=7))
    return figure


def _one_axis(members: Sequence[MethodView]) -> str | None:
    """The one setting that tells the methods apart; None where it is none or several."""
    names = {name for method in members for name in method.axes}
    return names.pop() if len(names) == 1 and len(members) > 1 else None


def _marks(families: Collection[Sequence[MethodView]], looks: Mapping[str, Look]) -> dict[str, str]:
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


def _middle(analysis: Analysis, family: str) -> MethodView:
    members = [method for method in analysis.methods if method.family == family]
    return members[len(members) // 2]


def _name_points(axes: Axes, members: Sequence[MethodView], ordered: Collection[str]) -> None:
    """Where one setting tells the methods apart: its first and last value, or each of a few categories."""
    if (name := _one_axis(members)) is None:
        return
    categories = name not in ordered
    if categories and len(members) > MOST_NAMED:
        return
    for method in members if categories else (members[0], members[-1]):
        side = -1 if method is members[0] else 1
        at = (100 * method.measure("learned").value, 100 * method.measure("fm").value)
        axes.annotate(
            shown(method.axes[name]), at, (5 * side, 5), textcoords="offset points",
            ha="left" if side > 0 else "right", fontsize=7, color=MUTED, zorder=5,
        )  # fmt: skip
