"""One file of rows as two: what is trained on, and what is held out to judge by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast import files, rng
from holdfast.errors import InputError, reading
from holdfast.start.rows import rows_of, together
from holdfast.tasks.task import Split

HELD_OUT = 0.2  # of the rows
SEED = 0


def split_file(path: Path) -> dict[Split, Path]:
    """Write `NAME-train.jsonl` and `NAME-test.jsonl` beside a file; rows that share a picture stay together.

    Raises:
        InputError: it cannot be read, has too few rows, or one of the files is there already.
    """
    with reading(path, "split"):
        rows = rows_of(path)
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(together(row), []).append(row)
    order = sorted(groups, key=lambda group: rng.seed("hold out", SEED, group))
    parts: dict[Split, list[Any]] = {"test": [], "train": []}
    for group in order:
        wanted = len(parts["test"]) < HELD_OUT * len(rows)
        parts["test" if wanted else "train"] += groups[group]
    if not parts["train"] or not parts["test"]:
        raise InputError(f"{path} has too few rows, or pictures, to hold some out; give --test FILE.")
    written: dict[Split, Path] = {
        split: path.with_name(f"{path.stem}-{split}.jsonl") for split in ("train", "test")
    }
    for file in written.values():
        if file.exists():
            raise InputError(f"{file} is there already; give it with --data or --test, or take it away.")
    for split, file in written.items():
        files.write_jsonl(file, parts[split])
    return written
