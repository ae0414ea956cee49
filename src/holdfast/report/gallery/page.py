"""`gallery.html`: one file that works offline, with one script of ours and no other.

Answers stand in cells as the records do: one character an item and stage for what the answer is, one number
for what was written. Texts are stored once. A page has room for so many bytes of them, so responses are
given in whole for as many items as fit, those first that were lost, recovered and gained; of the others,
the extracted answers stand alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from holdfast.analysis.results import Record, Results
from holdfast.report.gallery.items import Column, Items, Place, learned, shorten
from holdfast.report.gallery.thumbnails import Album, Shelf
from holdfast.report.table import rounded
from holdfast.report.templating import scripted

NAME = "gallery.html"
MOST_TEXT = 7_000_000  # characters of all responses of a page
CUT = 4  # added to the outcome of an answer that reached the limit of tokens
NOTHING = "."  # in place of an outcome: not judged


def gallery(
    experiments: Sequence[Results], shelf: Shelf, album: Album, report: str | None = "index.html"
) -> bytes:
    """The page of the items of one experiment, or of several side by side.

    Args:
        report: where the report lies, from the page.

    Raises:
        HoldfastError: two experiments know the same item by different prompts.
    """
    data = page_data(experiments, shelf, album)
    said = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    said = said.replace("<", "\\u003c")  # so that neither a tag nor a comment can begin in it
    return scripted("gallery", name=data["name"], report=report, data=said)


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
            cells[number] = {
                "learned": learned(column, items.tasks[number]),
                "marks": marks,
                "says": says,
                "accuracy": accuracy,
            }
    return {"label": column.label, "stages": ["base", *named][: last + 1], "cells": cells}


class _Texts:
    """What was written, each text once, as far as there is room for it."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}
        self._whole: set[Place] = set()

    def fill(self, items: Items) -> set[Place]:
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


def _marks(records: Sequence[Record | None], outcomes: Sequence[int]) -> str:
    return "".join(
        NOTHING if record is None else str(found + (0 if record["finished"] else CUT))
        for record, found in zip(records, outcomes, strict=True)
    )


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
