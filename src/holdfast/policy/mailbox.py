"""What ranks on one machine tell each other, through memory that all see: much sooner than by messages."""

from __future__ import annotations

import mmap
import os
import platform
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.policy.board import shared_memory

if TYPE_CHECKING:
    from holdfast.policy.team import Team

ROOM = 2**18  # bytes that a rank can tell at once
_HEAD = 2  # numbers before them: which message it is, and its length
_PLACE = 8 * _HEAD + ROOM
_EAGER = 0.005  # seconds of waiting without a pause
_PAUSE = 0.02  # then of that share of the time waited, up to
_LONGEST = 0.005  # seconds
_LOOK = 0.1  # seconds between looks at whether the others live
_IN_ORDER = ("x86_64", "AMD64")  # processors that show others what they write in its order


class Mailbox:
    """Two places for each rank, used in turn: who is a message ahead overwrites none that is still read.

    Before them stands of each rank whether it left.

    Args:
        memory: that all ranks see, all zeros at first.
        others: a file for the process of every other rank, which is ready once it has ended.
    """

    def __init__(self, memory: mmap.mmap, rank: int, size: int, others: list[int]) -> None:
        self.rank, self.size = rank, size
        self._bytes = memoryview(memory)
        self._heads = self._bytes.cast("q")
        self._sent = 0
        self._others = select.poll()
        for one in others:
            self._others.register(one, select.POLLIN)

    @classmethod
    def of(cls, team: Team) -> Mailbox | None:
        """One for a team. None where ranks are on several machines, or cannot have it."""
        space = Path("/proc/self/ns/pid")

        def alike() -> tuple[int, str]:
            able = platform.machine() in _IN_ORDER and hasattr(os, "pidfd_open") and space.is_symlink()
            return os.getpid(), os.readlink(space) if able else ""

        told = team.together(alike, "mailbox")
        if len({where for _, where in told}) > 1 or not told[0][1]:
            return None
        memory = shared_memory(team, 8 * team.size + 2 * team.size * _PLACE)
        if memory is None:
            return None
        others: list[int] = []
        with suppress(OSError):  # a kernel that has not got it, or allows it not
            others = [os.pidfd_open(process) for rank, (process, _) in enumerate(told) if rank != team.rank]
        if not all(team.together(lambda: bool(others), "mailbox")):
            return None
        return cls(memory, team.rank, team.size, others)

    def exchange(self, content: bytes, patience: float) -> list[bytes]:
        """What every rank tells, `ROOM` bytes at most. All ranks call this at once.

        Args:
            patience: seconds to wait for the others.

        Raises:
            RuntimeError: one ended, left or did not come.
        """
        self._sent += 1
        place = self._place(self.rank)
        start = place + 8 * _HEAD
        self._bytes[start : start + len(content)] = content
        self._heads[place // 8 + 1] = len(content)
        self._heads[place // 8] = self._sent  # last: it says that the rest is there
        told = []
        for rank in range(self.size):
            self._wait(rank, patience)
            place = self._place(rank)
            start = place + 8 * _HEAD
            told.append(bytes(self._bytes[start : start + self._heads[place // 8 + 1]]))
        return told

    def leave(self) -> None:
        """Have the others wait for no further message; the last ones may still be read."""
        self._heads[self.rank] = 1

    def _place(self, rank: int) -> int:
        return 8 * self.size + (2 * rank + self._sent % 2) * _PLACE

    def _wait(self, rank: int, patience: float) -> None:
        place, started = self._place(rank) // 8, time.monotonic()
        looks, gone = started + _LOOK, ""
        while self._heads[place] != self._sent:
            if gone:  # and said nothing before it went
                raise RuntimeError(gone)
            now = time.monotonic()
            if self._heads[rank]:
                gone = f"rank {rank} left"
            elif now < started + _EAGER:
                os.sched_yield()
            elif now < looks:
                time.sleep(min(_PAUSE * (now - started), _LONGEST))
            elif self._others.poll(0):
                gone = "a rank ended"
            elif now > started + patience:
                gone = f"rank {rank} did not come"
            else:
                looks = now + _LOOK
