"""The folder that an examination leaves, to read and to compare with.

<folder>/records/<task>.jsonl    a record a line
<folder>/records/<task>.json     what determined them, in which setting and when they were made, their SHA-256
<folder>/summary.md, .json       accuracy with its interval, format, length; what benchmarks report besides
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from holdfast import files
from holdfast.analysis.metrics import resolvable_difference
from holdfast.analysis.paired import accuracy
from holdfast.analysis.results import Record
from holdfast.errors import InputError, reading
from holdfast.experiment.identity import digest
from holdfast.experiment.plan import Job
from holdfast.report.table import Column, Table, to_json, to_markdown
from holdfast.tasks.scorers.summaries import SUMMARIES, summarise

RECORDS = "records"
FORMAT = 2  # of records/<task>.json; raise when a reader of an older one would misunderstand it


@dataclass(frozen=True)
class Examined:
    """What a checkpoint answered on one task.

    Attributes:
        task: its name.
        checkpoint: its name.
        inputs: everything but the checkpoint that determined the records (`questions_of`).
        seconds: that asking took, when it was done.
        made: when it was done, in seconds since 1970.
        fingerprint: of the job in the store.
        reused: it had been done before.
        left_out: sampling settings that a server refused, so that its own counted.
        setting: machine, mode and versions that made them (`generate.setting`); None where nobody noted it.
        asked: the settings of the exam (`Exam.asking`); None likewise.
        weights: a hash of the checkpoint's files; None likewise, and where they lie elsewhere.
    """

    task: str
    checkpoint: str
    inputs: dict[str, Any]
    records: list[Record]
    seconds: float
    made: float
    fingerprint: str
    reused: bool = True
    left_out: tuple[str, ...] = ()
    setting: dict[str, Any] | None = None
    asked: dict[str, Any] | None = None
    weights: str | None = None

    @property
    def asked_in(self) -> str:
        """The fingerprint of machine, mode, versions, sampling and prompt: alike where answers compare."""
        prompt = {key: self.inputs.get(key) for key in ("style", "template", "sampling")}
        alike = {key: value for key, value in (self.setting or {}).items() if key != "served"}
        return digest([alike, prompt])

    @property
    def scores_N(self) -> np.ndarray:
        return np.array([record["score"] for record in self.records], dtype=float)


def questions_of(job: Job, examples: int) -> dict[str, Any]:
    """Everything but the checkpoint that determines the records of an `evaluate` job."""
    (data,) = job.inputs["tasks"]
    return {
        "task": data["name"],
        "version": data["version"],
        "data": data["source"],
        "scorer": data["scorer"],
        "split": data["split"],
        "examples": examples,
        **({"without": data["without"]} if "without" in data else {}),
        **{key: job.inputs[key] for key in ("style", "template", "sampling")},
    }


def export(examined: Sequence[Examined], folder: Path) -> None:
    """Write the records of the last one, and the tables of all."""
    last = examined[-1]
    path = folder / RECORDS / f"{last.task}.jsonl"
    manifest = path.with_suffix(".json")
    manifest.unlink(missing_ok=True)  # killed between the two files, the folder holds no records of the task
    files.write_jsonl(path, last.records)
    said = {
        "format": FORMAT,
        "checkpoint": last.checkpoint,
        "fingerprint": last.fingerprint,
        "sha256": files.file_digest(path),
        "seconds": round(last.seconds, 1),
        "made": datetime.fromtimestamp(last.made, UTC).isoformat(timespec="seconds"),
        "inputs": last.inputs,
        "setting": last.setting,
        "setting_sha256": last.asked_in,
        "asked": last.asked,
        "weights": last.weights,
        **({"left_out": last.left_out} if last.left_out else {}),
    }
    files.write_json(manifest, said)
    table, *others = tables(examined)
    text = "".join(f"\n{to_markdown(one)}\n{one.note}\n" for one in (table, *others))
    files.write_text(folder / "summary.md", f"# {last.checkpoint}\n{text}")
    more = {one.name: to_json(one) for one in others}
    files.write_json(folder / "summary.json", to_json(table) | more)


def check_owner(folder: Path, name: str) -> None:
    """One folder holds the answers of one checkpoint, whose weights may change from time to time.

    Raises:
        InputError: it holds another's.
    """
    for path in (folder / RECORDS).glob("[!.]*.json"):
        owner = (_read(path) or {}).get("checkpoint", name)
        if owner != name:
            raise InputError(
                f"{folder} holds the answers of {owner}, not of {name}; choose another folder with --out."
            )


def read_folder(folder: Path, names: Sequence[str] = ()) -> list[Examined]:
    """What `export` left in a folder: of the named tasks, or of all.

    Raises:
        InputError: a task is not there, or its records are not what was written.
    """
    found = sorted(path.stem for path in (folder / RECORDS).glob("[!.]*.json"))
    examined = []
    for name in names or found:
        if name not in found:
            known = f"it has {', '.join(found)}" if found else "it has none"
            raise InputError(
                f"{folder} has no records of {name}; {known}. 'holdfast evaluate' with --out makes them."
            )
        said, path = _read(folder / RECORDS / f"{name}.json"), folder / RECORDS / f"{name}.jsonl"
        if said is not None and said.get("format", 1) not in (1, FORMAT):
            raise InputError(
                f"The records {path} are of format {said['format']!r}, and this version of Holdfast reads up "
                f"to {FORMAT}: read them with the version that wrote them, or evaluate again with --out."
            )
        if said is None or not path.is_file() or files.file_digest(path) != said["sha256"]:
            raise InputError(f"The records {path} are not what was written; 'holdfast evaluate' mends them.")
        examined.append(
            Examined(
                task=name,
                checkpoint=said["checkpoint"],
                inputs=said["inputs"],
                records=_records(path, said["inputs"].get("examples")),
                seconds=said["seconds"],
                made=datetime.fromisoformat(said["made"]).timestamp(),
                fingerprint=said["fingerprint"],
                left_out=tuple(said.get("left_out") or ()),
                setting=said.get("setting"),
                asked=said.get("asked"),
                weights=said.get("weights"),
            )
        )
    if not examined:
        raise InputError(f"{folder} holds no records; 'holdfast evaluate' with --out makes them.")
    return examined


def read_as_one(folder: Path, names: Sequence[str]) -> list[Examined]:
    """As `read_folder`, to be compared: all by the same weights, as far as that was noted.

    Raises:
        InputError: the checkpoint changed between two tasks.
    """
    examined = read_folder(folder, names)
    tasks: dict[str, list[str]] = {}
    for one in examined:
        if one.weights is not None:
            tasks.setdefault(one.weights, []).append(one.task)
    if len(tasks) > 1:
        parts = " from those on ".join(map(", ".join, tasks.values()))
        raise InputError(
            f"The files of {examined[0].checkpoint} changed between its answers in {folder}: other weights "
            f"gave those on {parts}. Run 'holdfast evaluate' with --out {folder} for all of them again."
        )
    return examined


def _records(path: Path, count: object) -> list[Record]:
    """The records of a task, each with what comparisons read of it.

    Args:
        count: how many there are; None where nobody noted it.

    Raises:
        InputError: there are others, or one of them is none: a program wrote or mended them.
    """
    with reading(f"The records {path}", advice="'holdfast evaluate' mends them."):
        records = files.read_jsonl(path)
        for number, record in enumerate(records, start=1):
            if wrong := _wrong(record):
                raise ValueError(f"number {number} {wrong}")
        if count not in (None, len(records)):
            raise ValueError(f"they are {len(records)} instead of {count}")
    return records


def _wrong(record: object) -> str:
    """What a record lacks, if anything."""
    if not isinstance(record, dict):
        return "is no record"
    for key in ("id", "prompt", "response", "reference", "answer"):
        value = record.get(key, 0)
        if not isinstance(value, str) and (key, value) != ("answer", None):
            return f"has no text '{key}'"
    for key in ("score", "lenient", "format"):
        value = record.get(key)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            return f"has the {key} {value!r:.40}, not one from 0 to 1"
    if not isinstance(record.get("tokens"), int | None) or not isinstance(record.get("finished"), bool):
        return "does not say its tokens, or whether it finished"
    return ""


_NEEDED = {
    "checkpoint": str,
    "fingerprint": str,
    "sha256": str,
    "seconds": int | float,
    "made": str,
    "inputs": dict,
}
_OPTIONAL = {"left_out": list, "setting": dict, "asked": dict, "weights": str}


def _read(path: Path) -> dict[str, Any] | None:
    """What is said of a task's records; None where that cannot be read."""
    said = files.read_if_there(path)
    if not isinstance(said, dict):
        return None
    kinds = _NEEDED | {key: kind | None for key, kind in _OPTIONAL.items()}
    if all(isinstance(said.get(key), kind) for key, kind in kinds.items()):
        with suppress(ValueError):
            datetime.fromisoformat(said["made"])
            return said
    return None


def tables(examined: Sequence[Examined]) -> list[Table]:
    """Accuracies; and, where a task's scorer has more to say, what benchmarks report besides."""
    details = [row for one in examined for row in _details(one)]
    return [_summary(examined), *([_benchmarks(details)] if details else [])]


def _summary(examined: Sequence[Examined]) -> Table:
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
    return Table("summary", "Accuracy", columns, [_row(one) for one in examined], note)


def _row(one: Examined) -> dict[str, Any]:
    records = one.records
    tokens = [record["tokens"] for record in records if record["tokens"] is not None]
    return {
        "task": one.task,
        "items": len(records),
        "accuracy": accuracy(one.task, one.scores_N),
        "lenient": float(np.mean([record["lenient"] for record in records])),
        "format": float(np.mean([record["format"] for record in records])),
        "tokens": float(np.mean(tokens)) if tokens else None,
        "unfinished": float(np.mean([not record["finished"] for record in records])),
        "resolvable": resolvable_difference(len(records), paired=True),
    }


_FIGURES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "yes_ratio": "Yes",
    "no_answer": "No answer",
}


def _details(one: Examined) -> list[dict[str, Any]]:
    scorer = one.inputs["scorer"].partition(" ")[0]  # its name, without its version
    if scorer not in SUMMARIES:
        return []
    groups = summarise(scorer, one.records)
    return [{"task": one.task, "group": name, **figures} for name, figures in groups.items()]


def _benchmarks(rows: list[dict[str, Any]]) -> Table:
    shown = {key: label for key, label in _FIGURES.items() if any(key in row for row in rows)}
    columns = [
        Column("task", "Task"),
        Column("group", "Group"),
        Column("count", "Items", "count"),
        *(Column(key, label, "points") for key, label in shown.items()),
    ]
    note = "Points of 100. Yes: share of answers that say yes. No answer: responses in which none was found."
    return Table("benchmarks", "What benchmarks report", columns, rows, note)
