"""Memory that all ranks see, where they are on one machine: faster than what they send each other."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import torch

if TYPE_CHECKING:
    from holdfast.policy.team import Team

FOLDER = Path("/dev/shm")  # of files in memory, on Linux
LINE = 64  # bytes, of which rows are a multiple


class Board:
    """Rows of numbers that every rank of a team reads and writes: one for each of them, and one more."""

    def __init__(self, team: Team) -> None:
        self.team = team
        self._bytes: torch.Tensor | None = None
        self._may_be = True

    def rows(self, count: int, dtype: torch.dtype) -> torch.Tensor | None:
        """Of so many numbers; what they hold is not known. All ranks ask for them at once.

        Returns:
            None where ranks are on several machines, or there is not enough of such memory.
        """
        size = count * dtype.itemsize
        if self._may_be and (self._bytes is None or size > self._bytes.shape[1]):
            self._bytes = None  # leaves its memory to the larger one
            rows, width = self.team.size + 1, -(-size // LINE) * LINE
            memory = shared_memory(self.team, rows * width)
            self._may_be = memory is not None
            if memory is not None:
                self._bytes = torch.frombuffer(memory, dtype=torch.uint8).view(rows, width)
        return None if self._bytes is None else self._bytes[:, :size].view(dtype)


def shared_memory(team: Team, size: int) -> mmap.mmap | None:
    """So many bytes, all zeros, of a file that soon has no name: it ends with the last process that sees it.

    Returns:
        None where ranks are on several machines, or there is not enough of such memory.
    """
    path = FOLDER / team.agreed(lambda: f"holdfast-{uuid4().hex}", "board")
    try:
        team.agreed(lambda: _make(path, size), "board")
        seen = _seen(path, size)
        everywhere = all(team.together(lambda: seen is not None, "board"))
    finally:
        if team.leads:
            path.unlink(missing_ok=True)
    return seen if everywhere else None


def _make(path: Path, size: int) -> None:
    """A file whose room is taken at once: a lack of it later would kill the process.

    Nobody else may open it: ranks unpickle what stands in it.
    """

    def mine(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    with suppress(OSError), open(path, "xb", opener=mine) as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _seen(path: Path, size: int) -> mmap.mmap | None:
    """None on another machine, which has no file of this name, or where there was no room for it."""
    with suppress(OSError, ValueError), path.open("r+b") as file:
        return mmap.mmap(file.fileno(), size)
    return None
