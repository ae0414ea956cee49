"""Opening files that are files: a pipe, a socket or a device is an error, and never waited for."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast.errors import NotRegular


def opened(path: Path, mode: str = "rb") -> Any:
    """As `path.open`, with texts in UTF-8; but a pipe is not waited for.

    Raises:
        NotRegular: it is a pipe, a socket or a device.
        OSError: it cannot be opened.
    """
    return open(path, mode, encoding=None if "b" in mode else "utf-8", opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    try:
        handle = os.open(path, flags | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a pipe that nobody reads
            raise NotRegular(path) from None
        raise
    if is_odd(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegular(path)
    return handle


def is_odd(mode: int) -> bool:
    """Whether a mode is that of a pipe, a socket or a device."""
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_regular(paths: Iterable[Path]) -> None:
    """See that these are files and folders, before others read them.

    Raises:
        NotRegular: one is a pipe, a socket or a device.
    """
    for path in paths:
        with suppress(FileNotFoundError):  # a link to nothing
            if is_odd(path.stat().st_mode):
                raise NotRegular(path)
