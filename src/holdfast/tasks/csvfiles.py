"""CSV files, whose fields are text as it is written, whatever it looks like."""

from __future__ import annotations

import csv
from collections import Counter
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from holdfast.tasks.tables import column_names, library


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


def as_text(place: str, table: Any) -> dict[str, Any]:
    """What `load_dataset` needs besides to read a table of CSV as it is written; nothing for another table.

    The types that it guesses make 7 of `007`, and no value of the answers `None` and `NA`.
    """
    if table.info.builder_name != "csv":
        return {}
    names = table.features or column_names(place, table)  # known once it was read in this way
    texts = dict.fromkeys(names, library().Value("string"))
    return {"features": library().Features(texts), "keep_default_na": False}
