"""Writing files so that a reader sees the whole of one or nothing, whenever the process dies."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Write `text` under a temporary name beside `path`, flush it to disk, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # mkstemp's own mode is for the owner alone
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, written whole."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line, written whole."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str | bytes) -> Any:
    """The same of a text, which Python cannot follow down to any depth."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def user_path(text: str | Path) -> Path:
    """A path as a person writes it, where `~` is a home folder.

    Raises:
        InputError: there is no such home, or it cannot be a path.
    """
    path = Path(text)
    if "\0" in str(text):
        raise InputError(f"{str(text)!r} is no path: it holds the character NUL.")
    try:
        return path.expanduser()
    except RuntimeError:
        raise InputError(f"{text} is no path: nobody here is called {path.parts[0][1:]}.") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def read_log(path: Path, count: int) -> list[dict[str, Any]]:
    """The first `count` rows of a JSONL file that was appended to and may end in the middle of a row."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(count), strict=False)]


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Fill a temporary folder; it becomes `target` only when the block ends without an error.

    A folder that is replaced stays whole until the new one has its place: see `recover_folder`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        temporary.chmod(0o777 & ~_umask())  # mkdtemp's own mode is for the owner alone
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                sync(file)
        if target.exists():
            shutil.rmtree(_replaced(target), ignore_errors=True)
            os.replace(target, _replaced(target))
        os.replace(temporary, target)
        sync(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        recover_folder(target)
        raise
    shutil.rmtree(_replaced(target), ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Put the old folder back where a process died between moving it away and moving in the new one."""
    if not target.exists() and _replaced(target).exists():
        os.replace(_replaced(target), target)


def _replaced(target: Path) -> Path:
    """Where a folder waits while another takes its place."""
    return target.with_name(f".{target.name}.old")


def sync(path: Path) -> None:
    """Ask the system to put a file's or folder's content on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
