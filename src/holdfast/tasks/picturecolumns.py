"""Which columns of a table hold pictures, whatever they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from holdfast.tasks.example import LazyImage


def pictured(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """The columns that hold pictures, or names of such files, wherever these rows hold anything in them."""
    return [column for column in (rows[0] if rows else ()) if _pictures(rows, column, folder)]


def _pictures(rows: Sequence[Mapping[str, Any]], column: str, folder: Path) -> bool:
    values = [value for row in rows if (value := row.get(column)) not in (None, "", [])]
    items = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return bool(items) and all(_is_picture(item, folder) for item in items)


def _is_picture(item: Any, folder: Path) -> bool:
    if isinstance(item, Mapping):
        item = item.get("bytes") or item.get("path")
    if isinstance(item, bytes | LazyImage):
        return True
    Image.init()
    named = isinstance(item, str) and Path(item).suffix.lower() in Image.EXTENSION
    return named and (folder / item).is_file()
