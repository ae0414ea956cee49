"""Rows of one's own: read from a file, and which of their fields is what, by common names."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.tasks.chat import ChatError, as_row, is_chat
from holdfast.tasks.rows import COMMON_NAMES


def rows_of(path: Path) -> list[Any]:
    """The rows of a JSONL file, or of a JSON array.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def meanings(columns: Collection[str]) -> dict[str, str]:
    """What is meant by some columns: setting of a task -> column."""
    return {key: name for key, names in COMMON_NAMES.items() if (name := first(names, columns))}


def first(names: Sequence[str], there: Collection[str]) -> str | None:
    """The first of the names that is there."""
    return next((name for name in names if name in there), None)


def has_own_names(row: Any) -> bool:
    """Whether a row is a question with an answer whose fields are not called as JSONL rows call them."""
    meant = meanings(row) if isinstance(row, Mapping) else {}
    named = "messages" not in meant and {"prompt", "answer"} <= meant.keys()
    return named and any(key != name for key, name in meant.items())


def together(row: Any) -> str:
    """What keeps rows together: their pictures, or else their text."""
    if not isinstance(row, Mapping):
        return json.dumps(row)
    try:
        flat = as_row(row) if is_chat(row) else row
    except ChatError:  # said with its line when the rows are read
        flat = row
    meant = meanings(flat)
    shown = flat.get(meant.get("images", ""))
    return json.dumps(shown or flat.get(meant.get("prompt", "")), sort_keys=True)
