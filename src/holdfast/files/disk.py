"""Files and folders as they lie on a disk: what tells them apart, how large they are, and removal."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast.files.paths import free_name
from holdfast.files.regular import check_regular, opened


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state(path: Path) -> tuple[int, int, int]:
    """What tells a file's content from others under its name: size, time of change, and when that was set.

    Archives and copies set the time of change, also to that of a file of equal size that was there before.

    Raises:
        OSError: it is not there.
    """
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def listing(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file under a folder, by its name from there."""
    check_regular(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def size(folder: Path) -> int:
    """Bytes of all files under a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # removed meanwhile, or a link to nothing
                total += os.stat(os.path.join(place, name)).st_size
    return total


def remove_folder(folder: Path, trash: Path) -> int:
    """Remove a folder, which nobody ever sees half removed; returns the bytes that were freed."""
    freed = size(folder)
    trash.mkdir(parents=True, exist_ok=True)
    hidden = free_name(trash / f"{folder.parent.name}-{folder.name}-{os.getpid()}")
    try:
        folder.rename(hidden)
    except FileNotFoundError:
        return 0
    shutil.rmtree(hidden, ignore_errors=True)
    return freed
