"""Results as plain data and back, with each cell's records in a file of their own, named by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from holdfast.analysis.outcomes import stands_in
from holdfast.analysis.results import MethodRun, Record, Results
from holdfast.tasks.leftout import LeftOut

TEXTS = ("prompt", "response", "answer", "reference", "meta")
_PLAIN = [field.name for field in fields(MethodRun) if field.name not in ("cells", "measures", "order")]


def to_plain(results: Results, with_texts: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `results.json` says, and the record files by name.

    Args:
        with_texts: else prompts, responses, answers and references stay behind, which may be licensed.
    """
    records = _RecordFiles(with_texts)
    places = {"output": f"runs/{results.name}", "store": "runs/store"}  # where they lay says nothing
    said = {
        "name": results.name,
        "sequence": list(results.sequence),
        "general": list(results.general),
        "chance": dict(results.chance),
        "options": sorted(results.options),
        "settings": results.settings | {key: places[key] for key in places if key in results.settings},
        "left_out": [
            [one.task, one.split, one.looked_at, [[at, text] for at, text in one.problems.items()]]
            for one in results.left_out
        ],
        "runs": [_plain_run(run, records) for run in results.runs],
        "other_style": [_plain_run(run, records) for run in results.other_style],
    }
    return said, records.files


class _RecordFiles:
    """Records as files, by name; runs share those of their base."""

    def __init__(self, with_texts: bool) -> None:
        self.files: dict[str, bytes] = {}
        self._with_texts = with_texts
        self._names: dict[int, str] = {}  # of lists of records that were seen, by their ids

    def put(self, rows: list[Record]) -> str:
        """The name of the file that holds these."""
        if id(rows) not in self._names:
            lines = rows if self._with_texts else map(without_texts, rows)
            content = "".join(json.dumps(row, sort_keys=True) + "\n" for row in lines).encode()
            name = f"records/{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
            self.files[name] = content
            self._names[id(rows)] = name
        return self._names[id(rows)]


def _plain_run(run: MethodRun, records: _RecordFiles) -> dict[str, Any]:
    return {name: getattr(run, name) for name in _PLAIN} | {
        "order": list(run.order),
        "cells": [[stage, task, records.put(rows)] for (stage, task), rows in run.cells.items()],
        "measures": {
            name: [[stage, found] for stage, found in stages.items()] for name, stages in run.measures.items()
        },
    }


def from_plain(said: Mapping[str, Any], records: Mapping[str, list[Record]]) -> Results:
    """The results that `to_plain` wrote.

    Args:
        records: rows of each record file.

    Raises:
        KeyError, TypeError, ValueError: it did not write this.
    """
    return Results(
        name=said["name"],
        sequence=tuple(said["sequence"]),
        general=tuple(said["general"]),
        chance=said["chance"],
        options=frozenset(said["options"]),
        settings=said["settings"],
        left_out=tuple(
            LeftOut(task, split, looked_at, dict(problems))
            for task, split, looked_at, problems in said["left_out"]
        ),
        runs=tuple(_run(plain, records) for plain in said["runs"]),
        other_style=tuple(_run(plain, records) for plain in said["other_style"]),
    )


def _run(plain: Mapping[str, Any], records: Mapping[str, list[Record]]) -> MethodRun:
    return MethodRun(
        **{name: plain[name] for name in _PLAIN},
        order=tuple(plain["order"]),
        cells={(int(stage), str(task)): records[name] for stage, task, name in plain["cells"]},
        measures={
            name: {int(stage): found for stage, found in stages} for name, stages in plain["measures"].items()
        },
    )


def without_texts(record: Record) -> Record:
    """The record with a hash in the place of its texts.

    Tables ask two things of texts: whether there is an answer, and whether the response holds the reference
    where an answer belongs. Stand-ins say the same.
    """
    holds = stands_in(str(record["reference"]), record["response"])
    texts = json.dumps([record[key] for key in TEXTS], sort_keys=True)
    return record | {
        "prompt": "",
        "reference": "reference",
        "response": "reference" if holds else "",
        "answer": None if record["answer"] is None else "",
        "meta": {},
        "texts_sha256": hashlib.sha256(texts.encode()).hexdigest()[:16],
    }
