"""What the policies wrote: the form of their responses, and a handful of them per task.

The items shown are picked to show change, so they are no fair sample: one whose knowledge was lost, one
that lost its convention, one that lost its format, one that was kept, each the first of its kind in test
order; at base, just after training on the task, and at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.analysis.outcomes import Outcome, outcome
from holdfast.analysis.results import MethodRun, Record
from holdfast.analysis.views import Analysis
from holdfast.report.gallery.items import shorten
from holdfast.report.rows import BASE, METHOD, STYLE, Row, base_rows, mean, named
from holdfast.report.section import Part, Response, Sample, Samples, Section
from holdfast.report.table import Column, Table
from holdfast.tasks.scoring import RIGHT


def section(analysis: Analysis) -> Section:
    note = (
        "Picked to show change, so not a fair sample: the first item whose knowledge was lost, the first "
        "that lost its convention, the first that lost its format, the first that was kept. From each "
        "method's first seed."
    )
    parts: list[Part] = [responses(analysis), Samples("Samples", note, samples(analysis))]
    return Section("responses", "Responses", "Responses", parts)


def responses(analysis: Analysis) -> Table:
    """Format, length and truncation of responses on the sequence's tasks: base and end."""
    columns = [
        METHOD,
        STYLE,
        Column(
            "format", "Right format", "points", "share of responses in the form the prompt style asks for"
        ),
        Column("tokens", "Tokens", "real", "mean length of a response"),
        Column("cut", "Cut off", "points", "share of responses that reached the token limit"),
    ]
    rows, classes = base_rows(analysis, lambda source: _means(analysis, source.runs[:1], 0))
    rows += [named(method) | _means(analysis, method.runs, method.stages) for method in analysis.methods]
    note = "On the test items of the sequence's tasks, at the end."
    return Table("responses", "Form of the responses", columns, rows, note, classes)


def _means(analysis: Analysis, runs: Sequence[MethodRun], stage: int) -> Row:
    """Means over the tasks' means."""
    cells = [run.cells.get((stage, task), []) for run in runs for task in analysis.results.sequence]
    format, tokens, finished = (
        mean(mean(record[field] for record in records) for records in cells)
        for field in ("format", "tokens", "finished")
    )
    return {"format": format, "tokens": tokens, "cut": None if finished is None else 1 - finished}


def samples(analysis: Analysis) -> dict[str, list[Sample]]:
    """Samples per task, from each method's first seed."""
    runs = [method.runs[0] for method in analysis.methods]
    return {task: found for task in analysis.tasks if (found := _of_task(analysis, runs, task))}


def _of_task(analysis: Analysis, runs: list[MethodRun], task: str) -> list[Sample]:
    positions: list[int] = []
    for kind in (Outcome.KNOWLEDGE, Outcome.CONVENTION, Outcome.FORMAT, Outcome.RIGHT):
        found = (_first(analysis, run, task, kind) for run in runs)
        position = next((position for position in found if position is not None), None)
        if position is not None and position not in positions:
            positions.append(position)
    if not positions and any(run.cells.get((0, task)) for run in runs):
        positions = [0]
    return [_sample(analysis, runs, task, position) for position in positions]


def _first(analysis: Analysis, run: MethodRun, task: str, kind: Outcome) -> int | None:
    """The first item that was right after learning the task and has this outcome at the end."""
    before = run.cells.get((analysis.results.learned_at(run, task), task))
    after = run.cells.get((analysis.results.last_stage(run), task))
    if not before or not after:
        return None
    pairs = enumerate(zip(before, after, strict=True))
    return next((at for at, (then, now) in pairs if then["score"] >= RIGHT and outcome(now) == kind), None)


def _sample(analysis: Analysis, runs: list[MethodRun], task: str, position: int) -> Sample:
    records: list[Record] = []  # of every response shown; the item is the same in all
    policies: dict[str, list[Response]] = {}

    def show(policy: str, when: str, run: MethodRun, stage: int) -> None:
        cell = run.cells.get((stage, task))
        if cell:
            record = cell[position]
            records.append(record)
            right = record["score"] >= RIGHT
            policies.setdefault(policy, []).append(Response(when, shorten(record["response"]), right))

    for style in dict.fromkeys(run.style for run in runs):  # the base is the same for all methods
        base = next((run for run in runs if run.style == style and run.cells.get((0, task))), runs[0])
        show(BASE, style, base, 0)
    for run in runs:
        learned, end = analysis.results.learned_at(run, task), analysis.results.last_stage(run)
        if 0 < learned < end:
            show(run.method, "just trained", run, learned)
        show(run.method, "end", run, end)
    item = records[0]
    reference = shorten(str(item["reference"]))
    return Sample(str(item["id"]), shorten(item["prompt"]), reference, list(policies.items()))
