"""The heading of CSV files, whose fields are text as it is written (`tables.py`)."""

from __future__ import annotations

import csv
from collections import Counter
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path


def problem_of_heading(file: Path) -> str | None:
    """What is wrong with a file's first row, if anything.

    Where rows have more fields than columns have names, pandas takes the first for names of rows.
    """
    with suppress(csv.Error), file.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
        heading, first = islice(chain(filter(None, csv.reader(opened)), ([], [])), 2)
        if len(first) > len(heading):
            counts = f"names {len(heading)} columns, but its first row has {len(first)} fields"
            return f"{counts}; quote texts that hold commas"
        if twice := [name for name, count in Counter(heading).items() if count > 1]:
            return f"has more than one column '{twice[0]}'"
    return None
