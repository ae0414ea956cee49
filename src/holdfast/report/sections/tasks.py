"""Task by task: the accuracy matrices, each task over the stages, and its accuracy before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdfast.analysis.method import MethodView
from holdfast.analysis.views import Analysis
from holdfast.report.panels import beside, first_column, fit, heat, method_legend, panels
from holdfast.report.rows import METHOD, STYLE, WHEN, Row, base_rows, many, mean, named
from holdfast.report.section import Drawing, Section
from holdfast.report.style import GRID, MUTED, WIDTH, Looks, room, scaled
from holdfast.report.table import Column, Table, rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL, LEAST_CELL = 0.315, 0.22  # inches: the width of a cell, and what its number needs
NAMES = 0.8  # inches that names of stages take beside a matrix, in general
SEA = ("#f4f7f5", "#b9dcd8", "#5aa9b5", "#23698f", "#12305a")


def section(analysis: Analysis) -> Section:
    return Section(
        "tasks",
        "Task by task",
        "Tasks",
        [
            Drawing(
                "accuracy_matrices",
                "Accuracy matrices",
                "Accuracy, %, mean over seeds. A row is the policy after training on the task named at its "
                "left; the first row is the untouched base. Outlined: the task just trained. Hatched: not "
                "evaluated.",
                matrix_figure,
                fold=many(analysis),
            ),
            matrices(analysis),
            Drawing(
                "task_curves",
                "Each task over the stages",
                "The grey band is the stage that trains on the task (where methods learned the tasks in "
                "different orders, a larger marker on each line). Shaded: 95 % interval. Dashed: trained on "
                "all tasks at once. Dotted: chance. A line ends where the next stage was not evaluated.",
                task_curves,
            ),
            per_task(analysis),
        ],
    )


def matrices(analysis: Analysis) -> Table:
    """All accuracy matrices: one row per method, seed and stage."""
    columns = [METHOD, STYLE, Column("seed", "Seed", "count"), Column("stage", "Stage", "count")]
    columns += [Column("trained_on", "After training on")]
    columns += [Column(task, task, "points") for task in analysis.tasks]
    rows: list[Row] = []
    for method in analysis.methods:
        for run in method.runs:
            for stage in range(method.stages + 1):
                row: Row = {"method": method.name, "style": method.style, "seed": run.seed}
                row |= {"stage": stage, "trained_on": method.trained_on(stage)}
                for task in analysis.tasks:
                    row[task] = mean(record["score"] for record in run.cells.get((stage, task), ()))
                rows.append(row)
    return Table("matrices", "Accuracy matrices, every seed", columns, rows, "Accuracy, %.", shown=False)


def per_task(analysis: Analysis) -> Table:
    """Accuracy on each task of the sequence: base, just after training on it, at the end."""
    sequence = list(enumerate(analysis.results.sequence))
    columns = [METHOD, STYLE, WHEN]
    columns += [Column(task, task, "points") for _, task in sequence]

    def before(source: MethodView) -> Row:
        return {"when": "before"} | {task: source.cell(0, index) for index, task in sequence}

    rows, classes = base_rows(analysis, before)
    for method in analysis.methods:
        if not method.joint:
            just: Row = {task: method.cell(method.order.index(task) + 1, index) for index, task in sequence}
            rows.append(named(method, when="just trained") | just)
        rows.append(named(method, when="end") | {task: method.cell(-1, index) for index, task in sequence})
    note = "Accuracy, %, mean over seeds [95 % interval]."
    return Table(
        "per_task", "Accuracy per task", columns, rows, note, classes, tight=True, fold=many(analysis)
    )


def matrix_figure(analysis: Analysis, looks: Looks) -> Figure:
    """Accuracy matrix of every method, mean over seeds: stages down, tasks across, the base on top."""
    most = 1.3 * WIDTH if room() == WIDTH else room()  # a page has margins to spare, a column has none
    narrow = int(most / scaled(CELL * len(analysis.tasks) + NAMES))
    for across in range(min(max(beside(2), narrow), len(analysis.methods)), 0, -1):
        for cell in (CELL, None):
            figure = _matrices(analysis, across, cell)
            wide = figure.axes[0].bbox.width / figure.dpi / len(analysis.tasks)
            if figure.get_figwidth() <= most and wide >= scaled(LEAST_CELL):
                return figure
    return figure


def _matrices(analysis: Analysis, across: int, cell: float | None) -> Figure:
    """So many side by side, with cells of a width in inches; None: as wide as there is room."""
    # Sequential methods first: joint runs have two rows only, and stand side by side.
    groups = [list(analysis.sequential), list(analysis.joint)]
    methods = [method for group in groups for method in (*group, *[None] * (-len(group) % across))]
    deep = [
        max(m.stages + 1.2 for m in methods[at : at + across] if m) for at in range(0, len(methods), across)
    ]
    figure, grid = panels(len(methods), across, exactly=True, height_ratios=deep)
    for axes, method in zip(grid, methods, strict=True):
        if method:
            _matrix(axes, analysis, method)
            axes.set_title(method.label, fontsize=scaled(10 if across <= 2 else 8))
        else:
            axes.remove()
    return fit(figure, 0.245 * deep[0], cell and cell * (len(analysis.tasks) + 0.25))


def _matrix(axes: Axes, analysis: Analysis, method: MethodView) -> None:
    shares, order = method.matrix_ST, () if method.joint else method.order
    stages, tasks = (np.arange(count) for count in shares.shape)
    # Gaps set the base row and the general benchmarks apart.
    x, y = tasks + 0.25 * (tasks >= len(analysis.results.sequence)), stages + 0.2 * (stages > 0)
    trained = {(stage, analysis.tasks.index(task)) for stage, task in enumerate(order, 1)}
    heat(axes, x, y, shares, SEA, lambda row, column: rounded(shares[row, column], 0, times=100), trained)
    axes.set_xticks(x, analysis.tasks)
    axes.set_yticks(y, [method.trained_on(stage) for stage in range(len(stages))])


def task_curves(analysis: Analysis, looks: Looks) -> Figure:
    """Accuracy on each task over the stages, one panel per task; joint runs are level lines.

    A band marks the stage that trains on the task; where methods have different orders, a larger
    marker on each line does.
    """
    tasks, sequence = analysis.tasks, analysis.results.sequence
    across = min((4, 5, 3), key=lambda number: -len(tasks) % number) if len(tasks) > 3 else len(tasks)
    figure, grid = panels(len(tasks), across, sharex=True, sharey=True)
    for index, (axes, task) in enumerate(zip(grid, tasks, strict=True)):
        general = index >= len(sequence)
        axes.set_title(task + (" (general)" if general else ""))
        if not general and (order := analysis.shared_order):
            learned = order.index(task) + 1
            axes.axvspan(learned - 0.5, learned, color=GRID, alpha=0.8, linewidth=0, zorder=0)
        if chance := analysis.results.chance.get(task):
            axes.axhline(100 * chance, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
        for method in analysis.methods:
            look = looks[method.name]
            if method.joint:
                level = 100 * method.matrix_ST[-1, index]
                axes.axhline(level, color=look.colour, linestyle="--", linewidth=1.1)
                continue
            _curve(axes, method, index, looks)
            if not general and not analysis.shared_order:
                learned = method.order.index(task) + 1
                value = 100 * method.matrix_ST[learned, index]
                axes.plot(learned, value, color=look.colour, marker=look.marker, markersize=8)
        axes.set_xlim(-0.25, len(sequence) + 0.25)
        axes.set_ylim(0, 103)
        axes.set_xticks(range(len(sequence) + 1), ["base", *analysis.stage_labels])
        if first_column(axes):
            axes.set_ylabel("accuracy, %")
    method_legend(figure, analysis.methods, looks)
    return fit(figure, 1.3)


def _curve(axes: Axes, method: MethodView, task: int, looks: Looks) -> None:
    """A line through neighbouring stages; one that stands alone has a bar in place of a band."""
    look, accuracy = looks[method.name], 100 * method.matrix_ST[:, task]
    cells = [method.cell(stage, task) for stage in range(len(accuracy))]
    low, high = 100 * np.array([(cell.low, cell.high) for cell in cells]).T
    stages = np.arange(len(accuracy))
    there = np.pad(~np.isnan(accuracy), 1)
    alone = there[1:-1] & ~there[:-2] & ~there[2:]
    axes.fill_between(stages, low, high, color=look.colour, alpha=0.13, linewidth=0)
    axes.vlines(stages[alone], low[alone], high[alone], color=look.colour, alpha=0.4, linewidth=1.2)
    axes.plot(stages, accuracy, color=look.colour, linestyle=look.line, marker=look.marker, markersize=3.6)
