"""The items of a gallery: every test item, and what each run made of it, stage by stage.

Axes: S stages (0 is the base), N items of one task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from holdfast.analysis.fates import Fate, fates
from holdfast.analysis.matrix import group_by_method
from holdfast.analysis.outcomes import outcome
from holdfast.analysis.results import MethodRun, Record, Results
from holdfast.analysis.transitions import MISSING
from holdfast.errors import HoldfastError

LONGEST = 600  # characters of a prompt or a response
MOST_PROMPTS = 6_000_000  # of all prompts, where these are longer than SHORTEST
SHORTEST = 120
Place = tuple[int, int]  # an item: the number of its task, and its own within that
Cells = dict[tuple[int, int], list[Record | None]]  # (task number, stage) -> a record, or None, an item


@dataclass
class Item:
    """A test item; `rank` is the fate most worth seeing that it met in any run."""

    id: str
    prompt: str
    reference: str
    rank: int = len(Fate)


@dataclass
class Column:
    """One run beside its labels: a method with a seed."""

    label: str
    run: MethodRun
    results: Results
    cells: Cells = field(default_factory=dict)
    outcomes: dict[tuple[int, int], list[int]] = field(default_factory=dict)


class Items:
    """The items of one experiment or of several, aligned by task and id.

    Raises:
        HoldfastError: two experiments know the same item by different prompts.
    """

    def __init__(self, experiments: Sequence[Results]) -> None:
        names = [(*one.sequence, *one.general) for one in experiments]
        self.tasks = list(dict.fromkeys(name for one in names for name in one))
        self.of_task: list[list[Item]] = [[] for _ in self.tasks]
        self._places: list[dict[str, int]] = [{} for _ in self.tasks]
        several = len(experiments) > 1
        count = sum(max(map(len, _cells(experiments, task)), default=0) for task in self.tasks)
        self._longest = min(LONGEST, max(SHORTEST, MOST_PROMPTS // max(count, 1)))
        self.columns = [column for one in experiments for column in _columns(one, several)]
        for column in self.columns:
            for (stage, task), records in column.run.cells.items():
                if task in self.tasks:
                    number = self.tasks.index(task)
                    column.cells[number, stage] = self._aligned(number, records, column.label)
        for column in self.columns:  # a later experiment may have more items of a task
            for (number, _), cell in column.cells.items():
                cell += [None] * (len(self.of_task[number]) - len(cell))
            column.outcomes |= {
                cell: [MISSING if one is None else int(outcome(one)) for one in records]
                for cell, records in column.cells.items()
            }
            self._rank(column)

    def _aligned(self, task: int, records: Sequence[Record], label: str) -> list[Record | None]:
        items, places = self.of_task[task], self._places[task]
        found: dict[int, Record] = {}
        for record in records:
            id, prompt = str(record["id"]), shorten(record["prompt"], self._longest)
            if id not in places:
                places[id] = len(items)
                items.append(Item(id, prompt, shorten(str(record["reference"]), SHORTEST)))
            elif items[places[id]].prompt != prompt:
                raise HoldfastError(
                    f"Item {id} of task {self.tasks[task]} has another prompt in {label} than in what stands "
                    "before it, so their answers cannot stand side by side. Compare runs on the same data."
                )
            found[places[id]] = record
        return [found.get(place) for place in range(len(items))]

    def _rank(self, column: Column) -> None:
        last = column.results.last_stage(column.run)
        for number, items in enumerate(self.of_task):
            outcome_SN = np.full((last + 1, len(items)), MISSING)
            for stage in range(last + 1):
                if found := column.outcomes.get((number, stage)):
                    outcome_SN[stage] = found
            fate_N = fates(outcome_SN, learned(column, self.tasks[number]), last)
            for item, fate in zip(items, fate_N.tolist(), strict=True):
                if fate != MISSING:
                    item.rank = min(item.rank, fate)

    def places(self) -> Iterator[Place]:
        """Of every item, task by task."""
        return ((number, place) for number, items in enumerate(self.of_task) for place in range(len(items)))

    def by_interest(self) -> list[Place]:
        """The same: what changed first, all tasks in turn."""
        return sorted(self.places(), key=lambda one: (self.of_task[one[0]][one[1]].rank, one[1], one[0]))


def _columns(results: Results, several: bool) -> list[Column]:
    grouped = group_by_method(results.runs)
    columns = []
    for run in results.runs:
        label = run.method if len(grouped[run.method]) == 1 else f"{run.method}, seed {run.seed}"
        columns.append(Column(f"{results.name}: {label}" if several else label, run, results))
    return columns


def _cells(experiments: Sequence[Results], task: str) -> Iterator[list[Record]]:
    for one in experiments:
        yield from (records for run in one.runs for (_, name), records in run.cells.items() if name == task)


def learned(column: Column, task: str) -> int:
    """The stage that trained on a task; 0 where none did."""
    return column.results.learned_at(column.run, task) if task in column.results.sequence else 0


def shorten(text: str, most: int = LONGEST) -> str:
    """At most so many characters and how many were left out; the end stays, where answers stand."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail]} … ({len(text) - most:,} characters left out) … {text[-tail:]}"
