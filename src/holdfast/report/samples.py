"""A handful of responses per task: at base, just after training on the task, and at the end.

The items are picked to show change, so they are no fair sample: one whose knowledge was lost, one
that lost its convention, one that lost its format, one that was kept, each the first of its kind in
test order.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.forgetting.outcomes import RIGHT, Outcome, outcome
from holdfast.forgetting.results import MethodRun, Record
from holdfast.report.analysis import Analysis

LONGEST = 600  # characters shown of a prompt or response


@dataclass(frozen=True)
class Response:
    """What one policy wrote."""

    when: str
    text: str
    right: bool


@dataclass(frozen=True)
class Sample:
    """One test item and what each policy wrote: (`base model` or method name, responses)."""

    id: str
    prompt: str
    reference: str
    policies: list[tuple[str, list[Response]]]


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
    for position, (then, now) in enumerate(zip(before, after, strict=True)):
        if then["score"] >= RIGHT and outcome(now) == kind:
            return position
    return None


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
        show("base model", style, base, 0)
    for run in runs:
        learned, end = analysis.results.learned_at(run, task), analysis.results.last_stage(run)
        if 0 < learned < end:
            show(run.method, "just trained", run, learned)
        show(run.method, "end", run, end)
    item = records[0]
    reference = shorten(str(item["reference"]))
    return Sample(str(item["id"]), shorten(item["prompt"]), reference, list(policies.items()))


def shorten(text: str) -> str:
    """At most `LONGEST` characters; says how many were left out."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} more characters)"
