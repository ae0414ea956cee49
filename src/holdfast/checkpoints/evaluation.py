"""Examining a checkpoint: records of every task in a folder, and a summary of them.

    <folder>/records/<task>.jsonl    a record a line
    <folder>/records/<task>.json     what determined them, their SHA-256, and when they were made
    <folder>/summary.md, .json       accuracy with its interval, format, length

A task whose two files are there and were made from the same inputs is not asked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from holdfast import files
from holdfast.analysis.metrics import resolvable_difference
from holdfast.analysis.paired import accuracy
from holdfast.analysis.results import Record
from holdfast.checkpoints.exam import Exam, OnStep, Subject
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment.identity import digest, file_digest
from holdfast.report.table import Column, Table, to_json, to_markdown

RECORDS = "records"


@dataclass(frozen=True)
class Answers:
    """What a checkpoint answered on one task.

    Attributes:
        task: its name.
        inputs: everything but the checkpoint that determined the records (`Exam.inputs`).
        seconds: that asking took, when it was done.
        made: when it was done, ISO 8601.
        reused: it had been done before.
    """

    task: str
    checkpoint: str
    inputs: dict[str, Any]
    records: list[Record]
    seconds: float
    made: str
    reused: bool = True


def examine(
    subject: Subject,
    exam: Exam,
    folder: Path,
    *,
    again: bool = False,
    on_step: Callable[[str], OnStep],
    on_task: Callable[[Answers], None],
) -> list[Answers]:
    """Ask a checkpoint all tasks of an exam, but for those that are done, and write the summary.

    Args:
        again: also those that are done.
        on_step: gives what is told the progress of a task.
        on_task: is told every task's answers.

    Raises:
        InputError: the folder belongs to another checkpoint; a task's data cannot be used.
        HoldfastError: generating failed. Tasks that were done stay.
    """
    for task in exam.tasks:
        exam.examples(task)  # all data are checked before any work
    _check_owner(subject, folder)
    identity = subject.identity(folder)
    answers = []
    for task in exam.tasks:
        inputs = exam.inputs(task)
        fingerprint = digest({"checkpoint": identity, **inputs})
        found = None if again else _find(folder, task.name, fingerprint)
        if found is None:
            start = time.perf_counter()
            part = folder / RECORDS / f".{task.name}.{fingerprint[:16]}.part"
            if again:
                part.unlink(missing_ok=True)
            records = subject.answer(task, exam.examples(task), exam, part, on_step(task.name))
            path = folder / RECORDS / f"{task.name}.jsonl"
            manifest_path = path.with_suffix(".json")
            manifest_path.unlink(missing_ok=True)  # killed between the two files, the task is asked again
            files.write_jsonl(path, records)
            manifest = {
                "checkpoint": subject.name,
                "fingerprint": fingerprint,
                "sha256": file_digest(path),
                "seconds": round(time.perf_counter() - start, 1),
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                "inputs": inputs,
            }
            files.write_json(manifest_path, manifest)
            for left_over in part.parent.glob(f".{task.name}.*.part"):
                left_over.unlink()
            found = _answers(task.name, manifest, records, reused=False)
        answers.append(found)
        on_task(found)
    table = summary(answers)
    files.write_text(folder / "summary.md", f"# {subject.name}\n\n{to_markdown(table)}\n{table.note}\n")
    files.write_json(folder / "summary.json", to_json(table))
    return answers


def read_answers(folder: Path, names: Sequence[str] = ()) -> list[Answers]:
    """The answers that `examine` left in a folder: of the named tasks, or of all.

    Raises:
        InputError: a task is not there, or its records are not what was written.
    """
    found = sorted(path.stem for path in (folder / RECORDS).glob("[!.]*.json"))
    answers = []
    for name in names or found:
        if name not in found:
            known = f"it has {', '.join(found)}" if found else "it has none"
            raise InputError(
                f"{folder} has no records of {name}; {known}. 'holdfast evaluate' with --out makes them."
            )
        manifest = _read(folder / RECORDS / f"{name}.json")
        path = folder / RECORDS / f"{name}.jsonl"
        if manifest is None or not path.is_file() or file_digest(path) != manifest["sha256"]:
            raise InputError(f"The records {path} are not what was written; make them again with --again.")
        answers.append(_answers(name, manifest, files.read_jsonl(path)))
    if not answers:
        raise InputError(f"{folder} holds no records; 'holdfast evaluate' with --out makes them.")
    return answers


def summary(answers: Sequence[Answers]) -> Table:
    """A row a task: accuracy with its interval, form and length of the responses."""
    columns = [
        Column("task", "Task"),
        Column("items", "Items", "count"),
        Column("accuracy", "Accuracy", "points", "mean score, with its 95 % interval"),
        Column("lenient", "Lenient", "points", "answers in another convention count too"),
        Column("format", "Format", "points", "responses in the form the prompt style asks for"),
        Column("tokens", "Tokens", "real", "mean length of a response"),
        Column("unfinished", "Cut off", "points", "responses that ended at the limit of tokens"),
        Column("resolvable", "Resolvable", "points", "difference these items show in 80 % of cases"),
    ]
    note = (
        "Points of 100, with 95 % bootstrap intervals over items. Resolvable: the true difference between "
        "two checkpoints that these items would show in 80 % of cases, if they disagree on 20 % of them."
    )
    return Table("summary", "Accuracy", columns, [_row(one) for one in answers], note)


def _row(answers: Answers) -> dict[str, Any]:
    records = answers.records
    tokens = [record["tokens"] for record in records if record["tokens"] is not None]
    return {
        "task": answers.task,
        "items": len(records),
        "accuracy": accuracy(answers.task, scores(records)),
        "lenient": float(np.mean([record["lenient"] for record in records])),
        "format": float(np.mean([record["format"] for record in records])),
        "tokens": float(np.mean(tokens)) if tokens else None,
        "unfinished": float(np.mean([not record["finished"] for record in records])),
        "resolvable": resolvable_difference(len(records), paired=True),
    }


def scores(records: Sequence[Record]) -> np.ndarray:
    """scores_N, float64."""
    return np.array([record["score"] for record in records], dtype=float)


def _check_owner(subject: Subject, folder: Path) -> None:
    """One folder holds the answers of one checkpoint, whose weights may change from time to time."""
    for path in (folder / RECORDS).glob("[!.]*.json"):
        owner = (_read(path) or {}).get("checkpoint", subject.name)
        if owner != subject.name:
            raise InputError(
                f"{folder} holds the answers of {owner}, not of {subject.name}; "
                "choose another folder with --out."
            )


def _find(folder: Path, name: str, fingerprint: str) -> Answers | None:
    """What is done already, if it was made from the same inputs and is whole."""
    manifest = _read(folder / RECORDS / f"{name}.json")
    if manifest is None or manifest["fingerprint"] != fingerprint:
        return None
    path = folder / RECORDS / f"{name}.jsonl"
    if not path.is_file() or file_digest(path) != manifest["sha256"]:
        return None
    return _answers(name, manifest, files.read_jsonl(path))


def _answers(name: str, manifest: dict[str, Any], records: list[Record], reused: bool = True) -> Answers:
    if not records:
        raise HoldfastError(f"There are no records of {name}.")
    return Answers(
        name,
        manifest["checkpoint"],
        manifest["inputs"],
        records,
        manifest["seconds"],
        manifest["made"],
        reused,
    )


def _read(path: Path) -> dict[str, Any] | None:
    """A task's manifest; None where there is none that can be read."""
    try:
        manifest = files.read_json(path)
    except (OSError, ValueError):
        return None
    needed = {"checkpoint", "fingerprint", "sha256", "seconds", "made", "inputs"}
    return manifest if isinstance(manifest, dict) and needed <= set(manifest) else None
