"""CSV files: what is wrong with one that its readers would take without a word, or call something else.

They take what follows an opening quotation mark, up to the next one, for one field, over however many lines.
That is right for a text of several lines; where a mark was never closed, it makes one row of many.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from holdfast.errors import shortened

# A field with what parts it from the next one; text behind the closing mark is of it, as readers take it.
_QUOTED = re.compile(r'"(?P<text>[^"]*(?:""[^"]*)*)(?P<closed>"?)(?P<behind>[^,\r\n]*)(?P<comma>,?)')
_PLAIN = re.compile(r"[^,\r\n]*(?P<comma>,?)")
_ENDS = re.compile(r"\r\n?|\n")
_OTHERS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # which spreadsheets write in place of commas
_OTHER = re.compile(r"[;\t|]")


def _rows(lines: Iterable[str]) -> Iterator[list[str]]:
    """The rows of CSV, however long a field is."""
    csv.field_size_limit(sys.maxsize)
    return csv.reader(lines)


def problem_of_csv(file: Path) -> str | None:
    """What is wrong with a CSV file, if anything, as the end of a sentence about it.

    Raises:
        OSError: it cannot be read.
    """
    with suppress(csv.Error):
        quotes, widths = _problems_of_rows(file)
        return quotes or _problem_of_heading(file) or widths
    return None


def repeated(names: Iterable[str]) -> str | None:
    """Likewise of the names of columns, of which two may be the same."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    return f"has more than one column '{shortened(twice[0])}'; rename one of them" if twice else None


def _problem_of_heading(file: Path) -> str | None:
    """Where rows have more fields than columns have names, pandas takes the first for names of rows."""
    with _opened(file) as opened:
        heading, first = islice(chain(filter(None, _rows(opened)), ([], [])), 2)
    if len(heading) == 1 and (other := _OTHER.search(heading[0])):
        return f"has its columns apart by {_OTHERS[other[0]]}; save it with commas between them"
    if not first:
        return "has no rows"
    if len(first) > len(heading):
        counts = f"names {len(heading)} columns, but its first row has {len(first)} fields"
        return f"{counts}; quote texts that hold commas"
    return repeated(heading)


def _problems_of_rows(file: Path) -> tuple[str | None, str | None]:
    """What is wrong with a row's quotation marks; and with its fields, of which pandas does not say why."""
    lines: list[str] = []  # of the row that is being read
    begins, columns, widths = 1, 0, None

    def noted(opened: TextIO) -> Iterator[str]:
        for line in opened:
            lines.append(line)
            yield line

    with _opened(file) as opened:
        for row in _rows(noted(opened)):
            within = len(lines) == 1 and lines[0].endswith(("\r", "\n")) and lines[0].count('"') % 2 == 0
            if not within and (problem := _problem_of_row("".join(lines), begins)):
                return problem, None
            begins += len(lines)
            lines.clear()
            columns = columns or len(row)
            if widths is None and len(row) > columns:
                counts = f"names {columns} columns, but its line {begins - 1} has {len(row)} fields"
                widths = f"{counts}; quote texts that hold commas"
    return None, widths


def _problem_of_row(row: str, begins: int) -> str | None:
    """What is wrong with the quotation marks of a row that begins in a line of this number."""
    place, more = 0, True
    while more:
        quoted = row.startswith('"', place)
        field = (_QUOTED if quoted else _PLAIN).match(row, place)
        assert field is not None  # both match anything
        if quoted and not field["closed"]:
            how = "is never closed"
        elif quoted and field["behind"] and _ENDS.search(field["text"]):  # within a line it does no harm
            how = f"is closed in line {begins + _lines(row, field.end('text'))}, before the field ends"
        else:
            place, more = field.end(), bool(field["comma"])
            continue
        opens = begins + _lines(row, place)
        return f'opens a quoted field in line {opens} that {how}; write "" for a mark within quoted text'
    return None


def _lines(text: str, end: int) -> int:
    return len(_ENDS.findall(text, 0, end))


def _opened(file: Path) -> TextIO:
    return file.open(encoding="utf-8-sig", errors="replace", newline="")
