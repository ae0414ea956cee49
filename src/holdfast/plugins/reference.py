"""References to the user's own code in settings (`rules.py:score`), and the hashes of their files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from holdfast.errors import InputError
from holdfast.files import read_bytes, real, user_path

REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


def is_reference(value: object) -> bool:
    """Whether a setting names code of the user's own."""
    return isinstance(value, str) and REFERENCE.fullmatch(value) is not None


def absolute(value: Any, folder: Path) -> Any:
    """A setting, or a whole tree of them, with the files of references made absolute from `folder`.

    A weighted reference (`rules.py:score` as a key) counts, too.
    """
    return _changed(value, lambda found: f"{real(folder / user_path(found['file']))}:{found['name']}")


def references(value: Any) -> Iterator[str]:
    """All references in a tree of settings."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from references(key)
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)
    elif is_reference(value):
        yield value


def identify(value: Any) -> Any:
    """The same tree with each reference as its name and the hash of its file, wherever that lies.

    Raises:
        InputError: a file cannot be read.
    """
    return _changed(value, lambda found: f"{found['name']} of {file_hash(Path(found['file']))}")


def _changed(value: Any, change: Callable[[re.Match[str]], str]) -> Any:
    """A tree of settings with another text in the place of every reference."""
    if isinstance(value, dict):
        return {_changed(key, change): _changed(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(inner, change) for inner in value]
    if isinstance(value, str) and (found := REFERENCE.fullmatch(value)):
        return change(found)
    return value


def code(value: Any) -> dict[str, str]:
    """The files of all references in a tree of settings, with their hashes.

    Raises:
        InputError: one cannot be read.
    """
    paths = {reference.rpartition(":")[0] for reference in references(value)}
    return {path: file_hash(Path(path)) for path in sorted(paths)}


def file_hash(path: Path) -> str:
    """SHA-256 of a file of the user's.

    Raises:
        InputError: it cannot be read.
    """
    return hashlib.sha256(read_code(path)).hexdigest()


def read_code(path: Path) -> bytes:
    """What a file of the user's holds.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return read_bytes(path)
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror}.") from None
