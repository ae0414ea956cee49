"""One file of rows as two: what is trained on, and what is held out to judge by."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast import files, rng
from holdfast.errors import InputError, reading
from holdfast.start.rows import rows_of, together
from holdfast.tasks.columns import READERS
from holdfast.tasks.tables import batches_of, problem_of_table, row_count
from holdfast.tasks.task import Split

HELD_OUT = 0.2  # of the rows
SEED = 0
ROWS_AT_ONCE = 256  # of a table, whose pictures may be many


def split_file(path: Path, look: Callable[[], object] = lambda: None) -> dict[Split, Path]:
    """Write `NAME-train` and `NAME-test` beside a file, in its order; rows of one picture stay together.

    CSV becomes CSV, parquet and Arrow parquet, with their types; all else JSONL.

    Files that are there already with the same rows are taken as they are.

    Args:
        look: at the file whole, before anything is written: so what is wrong is said with its own line.

    Raises:
        InputError: it cannot be read, is of no known form or too short, or a file is there with other rows.
    """
    if path.suffix not in READERS:
        raise InputError(f"{path} is none of {', '.join(READERS)}; rows are read from these.")
    table = path.suffix in (".parquet", ".arrow")
    with reading(path, "split"):
        if problem := problem_of_table(path):
            raise InputError(f"{path} {problem}.")
        rows = [] if table else rows_of(path)
        groups = [together(row, path.parent) for row in (_rows(path) if table else rows)]
    _check_writable(path, rows)
    look()
    test = _held_out(groups)
    if not 0 < len(test) < len(groups):
        raise InputError(f"{path} has too few rows, or pictures, to hold some out; give --test FILE.")
    suffix = ".csv" if path.suffix == ".csv" else ".parquet" if table else ".jsonl"
    written: dict[Split, Path] = {
        split: path.with_name(f"{path.stem}-{split}{suffix}") for split in ("train", "test")
    }
    with files.scratch_folder(path) as folder:
        for split, file in written.items():
            kept = test if split == "test" else set(range(len(groups))) - test
            new = folder / file.name
            if table:
                _write_table(new, path, kept)
            else:
                _write_rows(new, [row for number, row in enumerate(rows) if number in kept])
        made = [(folder / file.name, file) for file in written.values()]
        for new, file in made:
            if file.exists() and files.file_digest(new) != files.file_digest(file):
                raise InputError(
                    f"{file} is there already, with other rows; give it with --data or --test, or "
                    "take it away."
                )
        for new, file in made:
            new.replace(file)
    return written


def count_rows(file: Path) -> int:
    """How many rows a file has that `split_file` wrote."""
    return row_count(file) if file.suffix == ".parquet" else len(rows_of(file))


def _check_writable(path: Path, rows: Iterable[Any]) -> None:
    """See that rows are text that a file can hold: JSON can name half of a character."""
    for number, row in enumerate(rows, start=1):
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{path}, row {number} holds half a character (\\ud800 to \\udfff alone); "
                "write it as UTF-8 text."
            ) from None


def _held_out(groups: Iterable[str]) -> set[int]:
    """The numbers of the rows to judge by: whole groups by chance, until they are enough."""
    members: dict[str, list[int]] = {}
    for number, group in enumerate(_joined([*groups])):
        members.setdefault(group, []).append(number)
    rows = sum(map(len, members.values()))
    test: set[int] = set()
    for group in sorted(members, key=lambda group: rng.seed("hold out", SEED, group)):
        if len(test) < HELD_OUT * rows:
            test.update(members[group])
    return test


def _joined(groups: Sequence[str]) -> list[str]:
    """The groups of the rows, where those that have one of several pictures in common are one."""
    into: dict[str, str] = {}

    def name(group: str) -> str:
        while group in into:
            group = into[group]
        return group

    for group in groups:
        shown = json.loads(group)
        for picture in map(json.dumps, shown if isinstance(shown, list) else ()):
            if (other := name(picture)) != (own := name(group)):
                into[other] = own
    return [*map(name, groups)]


def _write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    if file.suffix != ".csv":
        files.write_jsonl(file, rows)
        return
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(file, out.getvalue())


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    for batch in batches_of(path, ROWS_AT_ONCE)[1]:
        yield from batch.to_pylist()


def _write_table(file: Path, path: Path, kept: Collection[int]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, batches = batches_of(path, ROWS_AT_ONCE)
    with pq.ParquetWriter(file, schema) as writer:
        first = 0
        for batch in batches:
            writer.write_batch(
                batch.filter(pa.array(first + place in kept for place in range(batch.num_rows)))
            )
            first += batch.num_rows
