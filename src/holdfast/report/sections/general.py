"""General benchmarks, which no stage trains on: before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdfast.analysis.method import MethodView
from holdfast.analysis.views import Analysis
from holdfast.report.panels import arms, fit, method_rows, panels
from holdfast.report.rows import METHOD, STYLE, Row, base_rows, named
from holdfast.report.section import Drawing, Section
from holdfast.report.style import MUTED, Looks
from holdfast.report.table import Column, Table, behind

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def section(analysis: Analysis) -> Section:
    caption = "No stage trains on these. With 95 % intervals."
    drawing = Drawing("general_benchmarks", "General benchmarks before and after", caption, general_figure)
    return Section("general", "General benchmarks", "General", [general(analysis), drawing])


def general(analysis: Analysis) -> Table:
    """General benchmarks: before, after and the change; no rows where there are none."""
    first = len(analysis.results.sequence)
    places = list(enumerate(analysis.results.general, first))
    changes = {task: behind(task, "change", analysis.results.general) for _, task in places}
    columns = [METHOD, STYLE]
    for task, change in changes.items():
        columns += [Column(task, task, "points"), Column(change, "change", "change", "end minus base")]

    def before(source: MethodView) -> Row:
        return {task: source.cell(0, index) for index, task in places}

    rows, classes = base_rows(analysis, before)
    for method in analysis.methods:
        row = named(method)
        for index, task in places:
            row |= {task: method.cell(-1, index), changes[task]: method.change(index)}
        rows.append(row)
    note = "Accuracy at the end, %, and its change from the base [95 % interval]. No stage trains on these."
    return Table("general", "General benchmarks", columns, rows if places else [], note, classes)


def general_figure(analysis: Analysis, looks: Looks) -> Figure | None:
    """General benchmarks before (ring) and after (filled, with interval), one panel per benchmark."""
    benchmarks, methods = analysis.results.general, analysis.methods
    if not benchmarks:
        return None
    figure, grid = panels(len(benchmarks), min(4, len(benchmarks)), sharey=True)
    for index, (axes, benchmark) in enumerate(
        zip(grid, benchmarks, strict=True), len(analysis.results.sequence)
    ):
        axes.set_title(benchmark)
        values = []
        for row, method in enumerate(methods):
            before, after = method.cell(0, index), method.cell(-1, index)
            look = looks[method.name]
            values += [before.value, after.low, after.high]
            both = [100 * before.value, 100 * after.value]
            axes.plot(both, [row, row], color=look.colour, alpha=0.45, linewidth=2.5)
            axes.plot(both[0], row, "o", markerfacecolor="none", markeredgecolor=MUTED, markersize=7)
            if not np.isnan(after.value):
                axes.errorbar(
                    both[1], row, xerr=arms(after), color=look.colour, marker=look.marker, markersize=6.5,
                    elinewidth=1.3,
                )  # fmt: skip
        method_rows(axes, methods)
        present = [value for value in values if not np.isnan(value)]
        if present:
            axes.set_xlim(max(-2, 100 * min(present) - 6), min(102, 100 * max(present) + 6))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if 0 <= value <= 100 else "")
        axes.set_xlabel("accuracy, %  (ring: base)")
    return fit(figure, 0.3 * len(methods))
