"""JSON that holds rows: what one says, and tables of them on this disk, each value as it is written.

`datasets` gives a column one type: 1 beside 2.5 becomes 1.0, 12345678901234567 loses its end, and a fraction
that comes behind the first 10 MB of whole numbers is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.errors import InputError

BEFORE = b"\xef\xbb\xbf \t\r\n"  # what may stand before JSON


class BadField(ValueError):
    """What is wrong with a row that cannot be read; `field` is the one to blame, if one is."""

    def __init__(self, field: str | None, problem: str) -> None:
        super().__init__(problem)
        self.field = field


class JsonTable:
    """The rows of JSON files, which all have the same columns."""

    features = None  # as of a table that `datasets` streams

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    @cached_property
    def names(self) -> list[str]:
        """The columns that any row has."""
        return [*dict.fromkeys(name for row in self._rows() for name in row)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        nothing = dict.fromkeys(self.names)
        return (nothing | row for row in self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for file in self.files:
            for place, text in _texts(file):
                try:
                    found = parse_row(text)
                except BadField as bad:
                    field = f", field '{bad.field}'" if bad.field else ""
                    raise InputError(f"{file}{place}{field}: {bad}.") from None
                for row in found if isinstance(found, list) else [found]:
                    if not isinstance(row, dict):
                        raise InputError(f"{file}{place}: must hold objects, one a row.")
                    yield row


def json_table(files: Sequence[Path]) -> JsonTable | None:
    """The table of these files; None if one is neither an object a line nor an array of objects."""
    return JsonTable(files) if all(map(_holds_rows, files)) else None


def _holds_rows(file: Path) -> bool:
    if file.suffix not in (".json", ".jsonl"):
        return False
    try:
        first = parse_row(next(_texts(file), ("", b"{}"))[1])
    except BadField as bad:  # such as one object over many lines
        return bad.field is not None
    return isinstance(first, dict) or all(isinstance(row, dict) for row in first)


def _texts(file: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a file that are not blank, with their numbers for messages, or all of an array."""
    with file.open("rb") as opened:
        if opened.read(64).lstrip(BEFORE).startswith(b"["):
            yield "", file.read_bytes()
            return
        opened.seek(0)
        for number, line in enumerate(opened, start=1):
            if line.strip(BEFORE):
                yield f", line {number}", line


def parse_row(line: bytes) -> Any:
    """What the JSON of a row says, or of an array of rows.

    Raises:
        BadField: it is none, or an object in it has a key twice, of which one would be lost.
    """
    try:
        return json.loads(line.decode("utf-8-sig").rstrip(), object_pairs_hook=_once)
    except BadField:
        raise
    except UnicodeDecodeError:
        problem = "is not UTF-8 text; save the file as UTF-8"
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        problem = f"is broken JSON: {error.msg} at {place}"
    except RecursionError:
        problem = "is nested too deep; a row has a few levels at most"
    except ValueError:
        problem = "holds a number of too many digits; write it in quotes"
    raise BadField(None, problem)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise BadField(next(key for key in made if keys.count(key) > 1), "stands there twice; keep one")
    return made
