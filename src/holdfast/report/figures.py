"""The figures on what was learned and forgotten. (Those on training: `training_figures`.)

Each function draws one `matplotlib.figure.Figure`; percentages throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from holdfast.forgetting.bootstrap import Estimate
from holdfast.report.analysis import Analysis, MethodView
from holdfast.report.style import GRID, INK, MUTED, WIDTH, Look
from holdfast.report.tables import label, stage_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def matrix_figure(analysis: Analysis, looks: Mapping[str, Look]) -> Figure:
    """Accuracy matrix of every method, mean over seeds: stages down, tasks across, the base on top."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    colours = LinearSegmentedColormap.from_list(
        "sea", ["#f4f7f5", "#b9dcd8", "#5aa9b5", "#23698f", "#12305a"]
    )
    # Sequential methods first: joint runs have two rows only, and stand side by side.
    blocks = [block for group in (analysis.sequential, analysis.joint) for block in _in_rows(group, 2)]
    across = max(len(block) for block in blocks)
    cell, row_height, head, left = 0.315, 0.245, 0.98, 0.88  # inches
    panel = cell * (len(analysis.tasks) + 0.25) + left + 0.32
    heights = [max(method.stages + 1.2 for method in block) * row_height + head + 0.3 for block in blocks]
    figure = Figure(figsize=(across * panel, sum(heights)))
    width, total = across * panel, sum(heights)
    top = total
    for block, height in zip(blocks, heights, strict=True):
        for column, method in enumerate(block):
            deep = (method.stages + 1.2) * row_height
            box = (column * panel + left, top - head - deep, cell * (len(analysis.tasks) + 0.25), deep)
            axes = figure.add_axes((box[0] / width, box[1] / total, box[2] / width, box[3] / total))
            _matrix(axes, analysis, method, colours)
        top -= height
    return figure


def _in_rows(methods: Sequence[MethodView], across: int) -> list[Sequence[MethodView]]:
    return [methods[start : start + across] for start in range(0, len(methods), across)]


def _matrix(axes: Axes, analysis: Analysis, method: MethodView, colours: object) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = method.matrix_ST.shape
    sequence = len(analysis.results.sequence)
    # Gaps set the base row and the general benchmarks apart.
    x = np.arange(columns) + 0.25 * (np.arange(columns) >= sequence)
    y = np.arange(rows) + 0.2 * (np.arange(rows) > 0)
    for row in range(rows):
        for column in range(columns):
            value = method.matrix_ST[row, column]
            corner = (x[column] - 0.5, y[row] - 0.5)
            if np.isnan(value):
                axes.add_patch(
                    Rectangle(corner, 1, 1, facecolor="none", edgecolor=GRID, linewidth=0.6, hatch="////")
                )
                continue
            trained = not method.joint and row > 0 and analysis.tasks[column] == method.order[row - 1]
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=colours(value), edgecolor="none"))  # type: ignore[operator]
            if trained:
                inner = (corner[0] + 0.05, corner[1] + 0.05)
                axes.add_patch(
                    Rectangle(inner, 0.9, 0.9, facecolor="none", edgecolor="#e8590c", linewidth=1.5)
                )
            axes.text(
                x[column],
                y[row],
                f"{100 * value:.0f}",
                ha="center",
                va="center_baseline",
                fontsize=7.5,
                fontweight="bold" if trained else "normal",
                color="#ffffff" if value > 0.55 else "#14212b",
            )
    axes.set_xlim(-0.5, x[-1] + 0.5)
    axes.set_ylim(y[-1] + 0.5, -0.5)
    axes.set_xticks(x, analysis.tasks, rotation=38, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_yticks(y, [stage_name(method, stage) for stage in range(rows)])
    axes.tick_params(length=0, pad=3)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.annotate(
        label(method),
        (0, 1),
        (0, 46),
        "axes fraction",
        textcoords="offset points",
        fontsize=10,
        fontweight="bold",
    )


def task_curves(analysis: Analysis, looks: Mapping[str, Look]) -> Figure:
    """Accuracy on each task over the stages, one panel per task; joint runs are level lines.

    A band marks the stage that trains on the task; where methods have different orders, a larger
    marker on each line does.
    """
    from matplotlib.figure import Figure

    tasks, sequence = analysis.tasks, analysis.results.sequence
    across = min(4, len(tasks))
    down = -(-len(tasks) // across)
    figure = Figure(figsize=(WIDTH, 1.75 * down + 1.15))
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    height = figure.get_figheight()
    figure.subplots_adjust(0.065, 0.72 / height, 0.995, 1 - 0.65 / height, 0.1, 0.3)
    stages = np.arange(len(sequence) + 1)
    for index, axes in enumerate(grid.flat):
        if index >= len(tasks):
            axes.set_visible(False)
            continue
        general = index >= len(sequence)
        axes.set_title(tasks[index] + (" (general)" if general else ""))
        if not general and (order := analysis.shared_order):
            learned = order.index(tasks[index]) + 1
            axes.axvspan(learned - 0.5, learned, color=GRID, alpha=0.8, linewidth=0, zorder=0)
        chance = analysis.results.chance.get(tasks[index])
        if chance:
            axes.axhline(100 * chance, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
        for method in analysis.methods:
            look = looks[method.name]
            if method.joint:
                axes.axhline(
                    100 * method.matrix_ST[-1, index], color=look.colour, linestyle="--", linewidth=1.1
                )
                continue
            there = np.flatnonzero(~np.isnan(method.matrix_ST[:, index]))  # general: often first and last
            cells = [method.cell(int(stage), index) for stage in there]
            low, high = (np.array([getattr(cell, end) for cell in cells]) for end in ("low", "high"))
            axes.fill_between(there, 100 * low, 100 * high, color=look.colour, alpha=0.13, linewidth=0)
            line = 100 * method.matrix_ST[there, index]
            axes.plot(there, line, color=look.colour, linestyle=look.line, marker=look.marker, markersize=3.6)
            if not general and not analysis.shared_order:
                learned = method.order.index(tasks[index]) + 1
                value = 100 * method.matrix_ST[learned, index]
                axes.plot(learned, value, color=look.colour, marker=look.marker, markersize=8)
        axes.set_xlim(-0.25, len(sequence) + 0.25)
        axes.set_ylim(0, 103)
        below = index + across >= len(tasks)
        axes.set_xticks(stages, ["base", *analysis.stage_labels], rotation=90 if len(sequence) > 3 else 0)
        axes.tick_params(labelbottom=below)
        if index % across == 0:
            axes.set_ylabel("accuracy, %")
    legend(figure, analysis.methods, looks)
    return figure


def scatter(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """Learned against forgotten, and learned against general change, with intervals.

    None while no method has finished.
    """
    from matplotlib.figure import Figure

    methods = [method for method in analysis.sequential if method.draws.complete]
    if not methods or len(analysis.results.sequence) < 2:
        return None
    panels = [("fm", "FM", "forgotten")]
    if analysis.results.general:
        panels.append(("general", "end minus base", "general ability"))
    figure = Figure(figsize=(WIDTH / 2 * len(panels), 3.6))
    grid = figure.subplots(1, len(panels), squeeze=False)
    figure.subplots_adjust(0.16 / len(panels), 0.14, 0.985, 0.8, 0.24)
    for axes, (measure, axis_label, title) in zip(grid.flat, panels, strict=True):
        for method in methods:
            cross(axes, method.measure("learned"), method.measure(measure), looks[method.name])
        axes.axhline(0, color=MUTED, linewidth=0.9)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -1), max(high, 1))
        axes.margins(0.08)
        axes.set_title(f"Learned against {title}")
        axes.set_xlabel("learned: just trained minus base, points")
        axes.set_ylabel(f"{axis_label}, points")
    legend(figure, methods, looks)
    return figure


def cross(axes: Axes, x: Estimate, y: Estimate, look: Look, size: float = 8, width: float = 1.3) -> None:
    """A point with an interval in both directions; nothing where either is missing."""
    if np.isnan(x.value) or np.isnan(y.value):
        return
    axes.errorbar(
        100 * x.value,
        100 * y.value,
        xerr=_arms(x),
        yerr=_arms(y),
        color=look.colour,
        marker=look.marker,
        markersize=size,
        elinewidth=width,
        capsize=0,
    )


def _arms(estimate: Estimate) -> list[list[float]]:
    """Lengths of error bars below and above; never negative (a skewed interval may leave its value out)."""
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    return [[100 * max(below, 0.0)], [100 * max(above, 0.0)]]


def general_figure(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """General benchmarks before (ring) and after (filled, with interval), one panel per benchmark."""
    from matplotlib.figure import Figure

    if not analysis.results.general:
        return None
    first, methods = len(analysis.results.sequence), analysis.methods
    benchmarks = analysis.results.general
    height = 0.3 * len(methods) + 1.05
    figure = Figure(figsize=(WIDTH, height))
    grid = figure.subplots(1, len(benchmarks), sharey=True, squeeze=False)
    longest = max(len(label(method)) for method in methods)
    figure.subplots_adjust(0.02 + 0.009 * longest, 0.55 / height, 0.985, 1 - 0.35 / height, 0.12)
    rows = np.arange(len(methods))
    for index, axes in enumerate(grid.flat):
        axes.set_title(benchmarks[index])
        values = []
        for row, method in enumerate(methods):
            before, after = method.cell(0, first + index), method.cell(-1, first + index)
            look = looks[method.name]
            values += [before.value, after.low, after.high]
            both = [100 * before.value, 100 * after.value]
            axes.plot(both, [row, row], color=look.colour, alpha=0.45, linewidth=2.5)
            axes.plot(both[0], row, "o", markerfacecolor="none", markeredgecolor=MUTED, markersize=7)
            if not np.isnan(after.value):
                dot = {"color": look.colour, "marker": look.marker, "markersize": 6.5, "elinewidth": 1.3}
                axes.errorbar(both[1], row, xerr=_arms(after), **dot)
        axes.set_yticks(rows, [label(method) for method in methods])
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        present = [value for value in values if not np.isnan(value)]
        if present:
            axes.set_xlim(max(-2, 100 * min(present) - 6), min(102, 100 * max(present) + 6))
        axes.set_xlabel("accuracy, %  (ring: base)")
    return figure


def turnover_figure(analysis: Analysis, looks: Mapping[str, Look]) -> Figure | None:
    """Items lost (left, by kind) and gained (right) on old tasks, per method."""
    from matplotlib.figure import Figure

    methods = [method for method in analysis.sequential if method.turnover]
    if not methods:
        return None
    height = 0.36 * len(methods) + 1.0
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.subplots()
    longest = max(len(label(method)) for method in methods)
    figure.subplots_adjust(0.02 + 0.009 * longest, 0.55 / height, 0.985, 1 - 0.4 / height)
    for row, method in enumerate(methods):
        colour, drawn = looks[method.name].colour, 0.0
        for kind, alpha in (("lost_knowledge", 1.0), ("lost_convention", 0.55), ("lost_format", 0.22)):
            share = 100 * method.turnover[kind].value
            axes.barh(row, -share, 0.62, left=-drawn, color=colour, alpha=alpha)
            drawn += share
        gained = method.turnover["gained"]
        axes.barh(row, 100 * gained.value, 0.62, facecolor="none", edgecolor=colour, linewidth=1.4)
        for found, sign in ((method.turnover["lost"], -1), (gained, 1)):
            ends = (100 * sign * found.low, 100 * sign * found.high)
            axes.plot(ends, (row, row), color=INK, linewidth=1)
            axes.annotate(
                f"{100 * found.value:.1f}", (ends[1], row), xytext=(5 * sign, 0), textcoords="offset points",
                ha="left" if sign > 0 else "right", va="center", fontsize=8,
            )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_yticks(range(len(methods)), [label(method) for method in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set_xlabel("share of test items of old tasks, %")
    title = "lost: knowledge (full), convention (pale), format (palest); gained (outline)"
    axes.set_title(title, fontweight="normal")
    return figure


ROWS_THAT_FIT = 2  # of a legend on top


def legend(figure: Figure, methods: list[MethodView], looks: Mapping[str, Look]) -> None:
    """One legend on top of the figure, which grows if it must; of a grid with many methods, its families."""
    from matplotlib.lines import Line2D

    families: dict[str, list[MethodView]] = {}
    for method in methods:
        families.setdefault(method.family, []).append(method)
    entries = [(method, label(method)) for method in methods]
    columns = _columns(figure, [name for _, name in entries])
    if len(entries) > 2 * columns and len(families) < len(entries):
        entries = [
            (members[len(members) // 2], family if len(members) > 1 else label(members[0]))
            for family, members in families.items()
        ]
        columns = _columns(figure, [name for _, name in entries])
    handles = []
    for method, name in entries:
        look = looks[method.name]
        several = len(entries) < len(methods) and len(families[method.family]) > 1
        marker = "" if method.joint or several else look.marker
        handles.append(Line2D([], [], color=look.colour, linestyle=look.line, marker=marker, label=name))
    figure.legend(handles=handles, loc="upper center", ncols=columns, columnspacing=1.3, handlelength=2)
    _grow(figure, 0.2 * max(0, -(-len(handles) // columns) - ROWS_THAT_FIT))


def _grow(figure: Figure, inches: float) -> None:
    """Room at the top; all else keeps its size."""
    height, space = figure.get_figheight(), figure.subplotpars
    figure.set_figheight(height + inches)
    share = height / (height + inches)
    figure.subplots_adjust(bottom=space.bottom * share, top=space.top * share)


def _columns(figure: Figure, names: Sequence[str]) -> int:
    """How many of these fit side by side in a legend, in inches."""
    widest = 0.55 + 0.085 * max(map(len, names))
    return max(1, min(len(names), 7, int(figure.get_figwidth() / widest)))
