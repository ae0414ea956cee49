"""Rows of one's own: read from a file, and which of their fields is what, by common names."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast import files
from holdfast.errors import InputError
from holdfast.tasks.chat import as_row, is_chat
from holdfast.tasks.fieldnames import COMMON_NAMES, choice_columns
from holdfast.tasks.jsonl import check_outermost
from holdfast.tasks.jsontable import BEFORE, BadField, parse_row
from holdfast.tasks.picturecolumns import pictured, unpacked
from holdfast.tasks.picturefiles import locate
from holdfast.tasks.pictures import BadImage
from holdfast.tasks.rows import kind_of


def rows_of(path: Path) -> list[Any]:
    """The rows of a JSONL file, of a JSON array, or of CSV, whose fields are text.

    Raises:
        InputError: a row is no JSON, or no object; names file, line and field. Or rows lie inside one object.
        OSError, ValueError: the file cannot be read.
    """
    if path.suffix == ".csv":
        csv.field_size_limit(sys.maxsize)  # a picture may be written in one
        with path.open(encoding="utf-8-sig", newline="") as opened:
            return list(csv.DictReader(opened))
    check_outermost(path)
    content = path.read_bytes()
    array = content.lstrip(BEFORE).startswith(b"[")
    places, rows = list[str](), list[Any]()
    for number, line in [(0, content)] if array else enumerate(content.split(b"\n"), 1):
        if line.strip():
            place = f", line {number}" if number else ""
            try:
                rows.append(parse_row(line))
            except BadField as bad:
                where = place + (f", field '{bad.field}'" if bad.field else "")
                raise InputError(f"{path}{where}: {bad}.") from None
            places.append(place)
    if array:
        rows = list(rows[0])
        places = [f", row {number}" for number in range(1, len(rows) + 1)]
    for row, place in zip(rows, places, strict=True):
        if not isinstance(row, Mapping):
            wanted = "a JSON object with prompt and answer"
            raise InputError(f"{path}{place}: must be {wanted}, not {kind_of(row)}.")
    return rows


def meanings(rows: Sequence[Any], folder: Path) -> dict[str, str]:
    """What columns mean by their names, and those of pictures by what they hold: setting of a task -> column.

    Args:
        rows: those that are objects count; the first says which columns there are.
        folder: where pictures that rows name lie.
    """
    rows = [row for row in rows if isinstance(row, Mapping)]
    columns = rows[0] if rows else {}
    meant = {key: name for key, names in COMMON_NAMES.items() if (name := first(names, columns))}
    if (
        isinstance(turns := columns.get(meant.get("prompt", "")), list)
        and turns
        and isinstance(turns[0], dict)
    ):
        meant = {"messages": meant.pop("prompt")} | meant
    answers = [row.get(meant["answer"]) for row in rows] if "answer" in meant else []
    if "references" not in meant and answers and all(isinstance(answer, list) for answer in answers):
        meant["references"] = meant.pop("answer")
    named = meant.get("images")
    if named and pictured([{named: row.get(named)} for row in rows], folder):
        return meant
    if shown := set(pictured(rows, folder)) - set(meant.values()):  # beside names of files that are not there
        meant["images"] = next(name for name in columns if name in shown)
    return meant


def first(names: Sequence[str], there: Collection[str]) -> str | None:
    """The first of the names that is there."""
    return next((name for name in names if name in there), None)


def has_own_names(row: Any, folder: Path) -> bool:
    """Whether a row is a question with an answer whose fields are not called as JSONL rows call them."""
    meant = meanings([row], folder)
    if "messages" in meant:
        return answered_beside(row, meant)
    if "prompt" not in meant or not meant.keys() & {"answer", "references"}:
        return False
    own = any(key != name for key, name in meant.items()) or "answer" not in meant
    return own or ("choices" not in meant and bool(choice_columns(row)))


def answered_beside(row: Mapping[str, Any], meant: Mapping[str, str]) -> bool:
    """Whether a row of turns has its answer not in one of them, but in a column of another name."""
    turns = row[meant["messages"]]
    if not isinstance(turns, list) or meant.get("answer", "answer") == "answer":
        return False
    said = {turn.get("role", turn.get("from")) for turn in turns if isinstance(turn, Mapping)}
    return said.isdisjoint(("assistant", "gpt")) and isinstance(row[meant["answer"]], str | int | float)


def together(row: Any, folder: Path) -> str:
    """What keeps rows together: what their pictures show, under whatever name, or else their text."""
    if not isinstance(row, Mapping):
        return json.dumps(row)
    try:
        flat = as_row(row) if is_chat(row) else row
    except BadField:  # said with its line when the rows are read
        flat = row
    meant = meanings([flat], folder)
    if not (shown := flat.get(meant.get("images", ""))):
        return json.dumps(flat.get(meant.get("prompt", "")), sort_keys=True)
    return json.dumps([_content(item, folder) for item in (shown if isinstance(shown, list) else [shown])])


def _content(item: Any, folder: Path) -> Any:
    """The hash of a picture in a table, or of a file beside the rows; anything else as it stands."""
    if isinstance(item := unpacked(item), bytes):
        return hashlib.sha256(item).hexdigest()
    try:
        return files.file_digest(locate(folder.resolve(), item)) if isinstance(item, str) else item
    except (OSError, BadImage):
        return item
