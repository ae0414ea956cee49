"""Paths and names as people write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from holdfast.errors import InputError, shortened

LONGEST_NAME = 255  # bytes that a file system takes


def user_path(text: str | Path) -> Path:
    """A path as a person writes it: `~` is a home folder.

    Raises:
        InputError: there is no such home, or it cannot be a path.
    """
    path = Path(text)
    if "\0" in str(text):
        raise InputError(f"{str(text)!r} is no path: it holds the character NUL.")
    if max((len(name.encode(errors="replace")) for name in path.parts), default=0) > LONGEST_NAME:
        raise InputError(f"{shortened(str(text))} is no path: a name has at most {LONGEST_NAME} bytes.")
    try:
        return path.expanduser()
    except RuntimeError:
        raise InputError(f"{text} is no path: nobody here is called {path.parts[0][1:]}.") from None


def real(path: Path) -> Path:
    """As `Path.resolve`, which some versions of Python end with RuntimeError at a loop of links."""
    return Path(os.path.realpath(path))


def is_url(text: str) -> bool:
    """Whether a text is a URL, such as s3://bucket/runs."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def is_hub_id(text: str) -> bool:
    """Whether a text has the form of a hub's ids: owner/name."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text) is not None


def free_name(path: Path) -> Path:
    """The path, or with a number behind it where something is there already."""
    free, number = path, 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
