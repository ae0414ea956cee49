"""Pictures in the columns of a table, and which columns hold some, whatever they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast.tasks.benchmarks.benchmark import BadRow
from holdfast.tasks.benchmarks.fields import inside, text_list
from holdfast.tasks.example import ImageSource, LazyImage
from holdfast.tasks.picturefiles import inline, names_one
from holdfast.tasks.pictures import BadImage, opened


def pictured(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """The columns that hold pictures, or names of such files, wherever these rows hold anything in them."""
    return [column for column in (rows[0] if rows else ()) if _pictures(rows, column, folder)]


def _pictures(rows: Sequence[Mapping[str, Any]], column: str, folder: Path) -> bool:
    values = [value for row in rows if (value := row.get(column)) not in (None, "", [])]
    items = [item for value in values for item in _listed(value)]
    return bool(items) and all(_is_picture(item, folder) for item in items)


def _is_picture(item: Any, folder: Path) -> bool:
    if isinstance(item := unpacked(item), LazyImage):
        return True
    try:
        if isinstance(item, bytes):
            opened(item)
    except OSError:  # a sound, say
        return False
    except BadImage:  # too large a picture
        return True
    return isinstance(item, bytes) or (isinstance(item, str) and names_one(folder.resolve(), item))


def _listed(value: Any) -> Sequence[Any]:
    """The pictures of a cell, which in CSV may be a list as Python writes it (`"['a.png', 'b.png']"`)."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        with suppress(BadRow):
            return text_list(value.strip(), "")
    return value if isinstance(value, list) else [value]


def unpacked(item: Any) -> Any:
    """The bytes or the path of a picture that `datasets` stores; anything else as it is.

    Bytes that are empty are a picture that was lost, not none, unless its file is named.
    """
    stored = isinstance(item, Mapping) and item.keys() & {"bytes", "path"}
    return item.get("bytes") or item.get("path") or item.get("bytes") if stored else item


def pictures_in(value: Any, column: str, root: Path | None) -> Iterator[ImageSource]:
    """The pictures of a cell: bytes, files inside a folder, or data URLs.

    Args:
        root: that folder; None for a table of the hub, which has none.

    Raises:
        BadRow: it holds something else.
    """
    for item in map(unpacked, _listed(value)):
        if isinstance(item, str) and (data := _inline(item, column)) is not None:
            item = data
        if isinstance(item, bytes | LazyImage):
            yield item
        elif isinstance(item, str) and "://" in item:
            raise BadRow(
                f"column '{column}' holds an address ({item[:80]}); nothing is fetched: save the file"
            )
        elif item and isinstance(item, str) and root is not None:
            path = Path(item)
            yield inside(root, str(path.relative_to(root)) if path.is_relative_to(root) else item)
        elif item not in (None, ""):
            raise BadRow(f"column '{column}' holds no image ({str(item)[:80]}); nothing is fetched")


def _inline(text: str, column: str) -> bytes | None:
    try:
        return inline(text)
    except BadImage as bad:
        raise BadRow(f"column '{column}': {bad}") from None
