"""What files hold: bytes, text in UTF-8, JSON; written whole, and read from regular files alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from holdfast.files.regular import opened
from holdfast.files.whole import whole_file

T = TypeVar("T")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, flush it to disk, and rename it."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, written whole."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line, written whole."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_bytes(path: Path) -> bytes:
    """What a file holds; raises as `opened`."""
    with opened(path) as file:
        return bytes(file.read())


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; raises as `opened`, and ValueError where it is no such text."""
    with opened(path, "r") as file:
        return str(file.read())


def read_json(path: Path) -> Any:
    """What a JSON file says; raises as `read_text`, and ValueError where it is not JSON."""
    return parse_json(read_text(path))


def read_if_there(path: Path) -> Any:
    """As `read_json`; None where it cannot be read."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file with one JSON object a line; blank lines do not count.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is not JSON.
    """
    with opened(path, "r") as file:
        return [json.loads(line) for line in file if line.strip()]


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is not JSON, or nested deeper than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def remember(memory: Path, version: int, found: Mapping[str, Any]) -> None:
    """Keep what was found, for other processes; where it cannot be written it is found again."""
    with suppress(OSError):
        write_json(memory, {"version": version, "found": dict(found)})


def recall(memory: Path, version: int, kind: type[T]) -> dict[str, T]:
    """What `remember` kept in a file; nothing of another version, nor where it says something else."""
    kept = read_if_there(memory)
    found = kept.get("found") if isinstance(kept, dict) and kept.get("version") == version else None
    return found if isinstance(found, dict) and all(isinstance(one, kind) for one in found.values()) else {}
