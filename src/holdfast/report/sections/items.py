"""Which test items were lost and gained: per method, per task and from stage to stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.analysis.method import MethodView
from holdfast.analysis.transitions import Transitions
from holdfast.analysis.views import Analysis
from holdfast.report.panels import fit, method_rows, panels, points_on_x
from holdfast.report.rows import METHOD, TASK, Row, mean
from holdfast.report.section import Drawing, Section
from holdfast.report.style import INK, WIDTH, Looks, room, scaled
from holdfast.report.table import Column, Table, rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SINCE = Column("since", "Since")
TURNOVER = (
    Column("kept", "Right → right", "points"),
    Column("lost", "Right → wrong", "points"),
    Column("lost_knowledge", "of these: knowledge", "points"),
    Column("lost_convention", "of these: convention", "points", "right, but written in another way"),
    Column("lost_format", "of these: format", "points", "right answer there, but not in its place"),
    Column("lost_true", "lost beyond chance", "points", "right → wrong, less what guessing explains"),
    Column("gained", "Wrong → right", "points"),
    Column("gained_true", "gained beyond chance", "points", "wrong → right, less what guessing explains"),
)
LASTING = (
    Column("never_lost", "Never lost", "points", "of items right at first: right at every later stage"),
    Column("recovered", "Recovered", "points", "of items ever lost: right again at the end"),
)


def section(analysis: Analysis) -> Section:
    drawing = Drawing(
        "turnover",
        "Items lost and gained on old tasks",
        "Just after training on the task against the end, mean over old tasks and seeds; 95 % intervals.",
        turnover_figure,
    )
    return Section(
        "items",
        "Which items were lost and gained",
        "Items",
        [turnover(analysis), drawing, turnover_by_task(analysis), turnover_by_stage(analysis)],
        empty="No method has both evaluations of an old task yet.",
    )


def turnover(analysis: Analysis) -> Table:
    """Sample transitions, mean over the old tasks."""
    rows: list[Row] = []
    for method in analysis.sequential:
        if shares := method.history.turnover:
            old = [entry for entry in method.history.persistence() if entry.since > 0]
            lasting = {one.key: mean(getattr(entry, one.key) for entry in old) for one in LASTING}
            rows.append({"method": method.label, **shares, **lasting})
    note = (
        "Shares of test items, %, mean over the old tasks [95 % interval]: just after training on the task "
        "against the end. A lost item lost its convention when its final answer is right, but written in "
        "another way than the task asks for; its format when the right answer stands in the response, but "
        "not where it is asked for; else its knowledge. Never lost: of the items right just after training, "
        "those right at every later stage. Recovered: of the others, those right at the end, where two "
        "stages or more followed; both plain means. From stage to stage: tables/turnover_by_stage.csv."
    )
    columns = [METHOD, *(one for one in TURNOVER if not one.key.endswith("_true")), *LASTING]
    return Table("turnover", "Which items were lost and gained", columns, rows, note)


def turnover_by_task(analysis: Analysis) -> Table:
    """Sample transitions of every old task and general benchmark."""
    rows: list[Row] = []
    for method in analysis.methods:
        persistence = {entry.task: entry for entry in method.history.persistence()}
        for entry in method.history.to_end():
            row = _transition_row(method, entry)
            if lasting := persistence.get(entry.task):
                row |= {one.key: getattr(lasting, one.key) for one in LASTING}
            rows.append(row)
    note = (
        "Shares of test items, %, from the stage in 'Since' to the end. Beyond chance: without what guessing "
        "explains, where answers are options."
    )
    columns = [METHOD, TASK, SINCE, *TURNOVER, *LASTING]
    title = "Items lost and gained, per task"
    return Table("turnover_by_task", title, columns, rows, note, tight=True, fold=True)


def turnover_by_stage(analysis: Analysis) -> Table:
    """Sample transitions of old tasks and general benchmarks between stages."""
    rows = [
        _transition_row(method, entry)
        | {
            "until": f"stage {entry.until}",
            "trained_on": method.trained_on(entry.until),
            "items": entry.items,
        }
        for method in analysis.methods
        for entry in method.history.by_stage()
    ]
    columns = [METHOD, TASK, SINCE, Column("until", "Until"), Column("trained_on", "After training on")]
    columns += [Column("items", "Test items", "count"), *TURNOVER]
    note = "Shares of test items, %, from the stage in 'Since' to the one in 'Until'."
    title = "Items lost and gained, from stage to stage"
    return Table("turnover_by_stage", title, columns, rows, note, shown=False)


def _transition_row(method: MethodView, entry: Transitions) -> Row:
    since = "base" if entry.since == 0 else f"stage {entry.since}"
    row: Row = {"method": method.label, "task": entry.task, "since": since}
    return row | {one.key: getattr(entry, one.key) for one in TURNOVER}


def turnover_figure(analysis: Analysis, looks: Looks) -> Figure | None:
    """Items lost (left, by kind) and gained (right) on old tasks, per method."""
    methods = [method for method in analysis.sequential if method.history.turnover]
    if not methods:
        return None
    figure, (axes,) = panels(1, 1)
    for row, method in enumerate(methods):
        colour, drawn, shares = looks[method.name].colour, 0.0, method.history.turnover
        for kind, alpha in (("lost_knowledge", 1.0), ("lost_convention", 0.55), ("lost_format", 0.22)):
            share = 100 * shares[kind].value
            axes.barh(row, -share, 0.62, left=-drawn, color=colour, alpha=alpha)
            drawn += share
        gained = shares["gained"]
        axes.barh(row, 100 * gained.value, 0.62, facecolor="none", edgecolor=colour, linewidth=1.4)
        for found, sign in ((shares["lost"], -1), (gained, 1)):
            ends = (100 * sign * found.low, 100 * sign * found.high)
            axes.plot(ends, (row, row), color=INK, linewidth=1)
            axes.annotate(
                rounded(found.value, 1, times=100), (ends[1], row), xytext=(5 * sign, 0),
                textcoords="offset points", ha="left" if sign > 0 else "right", va="center",
                fontsize=scaled(8),
            )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.9)
    method_rows(axes, methods)
    axes.margins(x=0.12 * scaled(WIDTH) / room())  # for the numbers at the ends
    points_on_x(axes)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set_xlabel("share of test items of old tasks, %")
    title = "lost: knowledge (full), convention (pale), format (palest); gained (outline)"
    axes.set_title(title, fontweight="normal")
    return fit(figure, 0.36 * len(methods) + 0.05)
