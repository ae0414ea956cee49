"""One file of rows as two: what is trained on, and what is held out to judge by."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast import files, rng
from holdfast.errors import InputError, reading
from holdfast.start.rows import rows_of, together
from holdfast.tasks.task import Split

HELD_OUT = 0.2  # of the rows
SEED = 0


def split_file(path: Path) -> dict[Split, Path]:
    """Write `NAME-train` and `NAME-test` beside a file (of CSV as CSV); rows of one picture stay together.

    Raises:
        InputError: it cannot be read, has too few rows, or one of the files is there already.
    """
    with reading(path, "split"):
        rows = rows_of(path)
    if path.suffix == ".csv" and (beyond := next((row for row in rows if None in row), None)):
        first = ", ".join(map(str, beyond.values()))[:80]
        raise InputError(f"{path} has a row of more fields than columns ({first}); quote texts with commas.")
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(together(row, path.parent), []).append(row)
    order = sorted(groups, key=lambda group: rng.seed("hold out", SEED, group))
    parts: dict[Split, list[Any]] = {"test": [], "train": []}
    for group in order:
        wanted = len(parts["test"]) < HELD_OUT * len(rows)
        parts["test" if wanted else "train"] += groups[group]
    if not parts["train"] or not parts["test"]:
        raise InputError(f"{path} has too few rows, or pictures, to hold some out; give --test FILE.")
    suffix = ".csv" if path.suffix == ".csv" else ".jsonl"
    written: dict[Split, Path] = {
        split: path.with_name(f"{path.stem}-{split}{suffix}") for split in ("train", "test")
    }
    for file in written.values():
        if file.exists():
            raise InputError(f"{file} is there already; give it with --data or --test, or take it away.")
    for split, file in written.items():
        if suffix == ".csv":
            _write_csv(file, parts[split])
        else:
            files.write_jsonl(file, parts[split])
    return written


def _write_csv(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(file, out.getvalue())
