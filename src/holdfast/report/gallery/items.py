"""From records to what the gallery holds: every test item, and what each run made of it, stage by stage.

Answers stand in cells as the records do: one character an item and stage for what the answer is, one number
for what was written. Texts are stored once. A page has room for so many bytes of them, so responses are
given in whole for as many items as fit, those first that were lost, recovered and gained; of the others,
the extracted answers stand alone.

Axes: S stages (0 is the base), N items of one task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from holdfast.analysis.fates import Fate, fates
from holdfast.analysis.matrix import group_by_method
from holdfast.analysis.outcomes import outcome
from holdfast.analysis.results import MethodRun, Record, Results
from holdfast.analysis.transitions import MISSING
from holdfast.errors import HoldfastError
from holdfast.report.gallery.thumbnails import Album, Shelf
from holdfast.report.table import rounded

LONGEST = 600  # characters of a prompt or a response
MOST_TEXT = 7_000_000  # characters of all responses of a page
MOST_PROMPTS = 6_000_000  # of all prompts, where these are longer than SHORTEST
SHORTEST = 120
CUT = 4  # added to the outcome of an answer that reached the limit of tokens
NOTHING = "."  # in place of an outcome: not judged

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
            fate_N = fates(outcome_SN, _learned(column, self.tasks[number]), last)
            for item, fate in zip(items, fate_N.tolist(), strict=True):
                if fate != MISSING:
                    item.rank = min(item.rank, fate)

    def places(self) -> Iterator[tuple[int, int]]:
        """(task number, place) of every item, task by task."""
        return ((number, place) for number, items in enumerate(self.of_task) for place in range(len(items)))

    def by_interest(self) -> list[tuple[int, int]]:
        """The same: what changed first, all tasks in turn."""
        return sorted(self.places(), key=lambda one: (self.of_task[one[0]][one[1]].rank, one[1], one[0]))


def page_data(experiments: Sequence[Results], shelf: Shelf, album: Album) -> dict[str, Any]:
    """All that the page holds, ready for JSON."""
    items = Items(experiments)
    texts = _Texts()
    whole = texts.fill(items)
    starts = np.cumsum([0, *map(len, items.of_task)]).tolist()
    flat = [item for one in items.of_task for item in one]
    pictures = {}
    for number, place in items.by_interest() if album.most else ():
        example = shelf.find(items.tasks[number], items.of_task[number][place].id)
        if example is not None and (found := album.add(example)):
            pictures[starts[number] + place] = found
    return {
        "name": " and ".join(one.name for one in experiments),
        "tasks": [
            {"name": task, "start": start, "count": len(of_task)}
            for task, start, of_task in zip(items.tasks, starts[:-1], items.of_task, strict=True)
        ],
        "ids": [item.id for item in flat],
        "prompts": [item.prompt for item in flat],
        "references": [item.reference for item in flat],
        "whole": "".join("01"[one in whole] for one in items.places()),
        "pictures": pictures,
        "album": album.pictures,
        "runs": [_run(column, items, texts) for column in items.columns],
        "texts": texts.all,
        "notes": _notes(len(flat), len(whole), album),
    }


def _run(column: Column, items: Items, texts: _Texts) -> dict[str, Any]:
    run, results = column.run, column.results
    last = results.last_stage(run)
    named = ("all tasks",) if run.joint else results.order_of(run)
    cells: dict[int, Any] = {}
    for number, of_task in enumerate(items.of_task):
        marks, says, accuracy = [], [], []
        for stage in range(last + 1):
            records = column.cells.get((number, stage), [])
            marks.append(_marks(records, column.outcomes.get((number, stage), [])))
            says.append([texts.number(number, place, record) for place, record in enumerate(records)])
            scores = [record["score"] for record in records if record]
            accuracy.append(rounded(float(np.mean(scores)), 0, times=100) if scores else "")
        if any(marks) and of_task:
            learned = _learned(column, items.tasks[number])
            cells[number] = {"learned": learned, "marks": marks, "says": says, "accuracy": accuracy}
    return {"label": column.label, "stages": ["base", *named][: last + 1], "cells": cells}


class _Texts:
    """What was written, each text once, as far as there is room for it."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}
        self._whole: set[tuple[int, int]] = set()

    def fill(self, items: Items) -> set[tuple[int, int]]:
        """Choose the items whose responses are given in whole."""
        room = MOST_TEXT
        seen: set[str] = set()
        for number, place in items.by_interest():
            new = {
                shorten(record["response"])
                for column in items.columns
                for (task, _), records in column.cells.items()
                if task == number and (record := records[place])
            } - seen
            room -= sum(map(len, new))
            if room < 0:
                break
            seen |= new
            self._whole.add((number, place))
        return self._whole

    def number(self, task: int, place: int, record: Record | None) -> int:
        """Of what is shown for a record; -1 where there is none."""
        if record is None:
            return -1
        whole = (task, place) in self._whole
        text = shorten(record["response"]) if whole else shorten(record["answer"] or "", 60)
        if text not in self._numbers:
            self._numbers[text] = len(self.all)
            self.all.append(text)
        return self._numbers[text]


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


def _learned(column: Column, task: str) -> int:
    """The stage that trained on a task; 0 where none did."""
    return column.results.learned_at(column.run, task) if task in column.results.sequence else 0


def _marks(records: Sequence[Record | None], outcomes: Sequence[int]) -> str:
    return "".join(
        NOTHING if record is None else str(found + (0 if record["finished"] else CUT))
        for record, found in zip(records, outcomes, strict=True)
    )


def shorten(text: str, most: int = LONGEST) -> str:
    """At most so many characters and how many were left out; the end stays, where answers stand."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail]} … ({len(text) - most:,} characters left out) … {text[-tail:]}"


def _notes(items: int, whole: int, album: Album) -> list[str]:
    """What the page does not hold."""
    notes = []
    if whole < items:
        notes.append(
            f"Responses stand here for {whole:,} of {items:,} items, those first that changed; of the "
            "others, the extracted answers. The records have them all."
        )
    if not album.most:
        notes.append("Pictures were left out.")
    elif album.left_out:
        notes.append(f"{len(album.pictures):,} pictures, of the items first that changed.")
    if album.unread:
        notes.append(f"The pictures of {album.unread:,} items could not be read.")
    return notes
