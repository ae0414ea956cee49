"""Where workers compute: a card each, as far as there are cards.

A worker sees its card alone (CUDA_VISIBLE_DEVICES), so to all that runs in it `cuda` is that card. This
process makes no context on any: it counts cards, and a process of its own asks each how much room it has.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.errors import InputError
from holdfast.policy.device import device_for, device_name

VISIBLE = "CUDA_VISIBLE_DEVICES"
CONTEXT = 600_000_000  # bytes that a process takes of a card before its first tensor
PROGRAM = 400_000_000  # and of the machine's memory: Python, PyTorch, transformers
NEGLIGIBLE = 1_000_000_000  # bytes of a card that are no sign of another program
ASK_SECONDS = 120
_ASK = "import sys, torch; print(*torch.cuda.mem_get_info(sys.argv[1]))"


@dataclass(frozen=True)
class Place:
    """What a worker computes on.

    Attributes:
        device: as torch names it.
        card: what CUDA_VISIBLE_DEVICES calls the one card it may see (an index, a UUID or a MIG name);
            None where it sees what this process sees.
    """

    device: str
    card: str | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def environment(self) -> Mapping[str, str]:
        return {} if self.card is None else {VISIBLE: self.card}


@dataclass(frozen=True)
class Room:
    """Bytes of a place: all it has, and what is left of that by other programs."""

    place: Place
    total: int
    free: int

    @property
    def taken(self) -> int:
        """What other programs hold; 0 where it is no more than a driver takes."""
        taken = self.total - self.free
        return taken if taken > NEGLIGIBLE else 0

    @property
    def available(self) -> int:
        return self.total - self.taken


def cards() -> list[str]:
    """The cards that this process may use, as CUDA_VISIBLE_DEVICES calls them."""
    import torch

    count = torch.cuda.device_count()
    if VISIBLE not in os.environ:
        return [str(index) for index in range(count)]
    listed = [name.strip() for name in os.environ[VISIBLE].split(",")]
    if count and all(name.startswith("MIG") for name in listed):
        return listed  # of several, CUDA shows a process the first alone
    return listed[:count]  # a list ends before its first unknown card


def places(setting: str) -> list[Place]:
    """Where workers compute, in turn: every card for `cuda`, one place for any other device.

    Raises:
        InputError: torch cannot use the device.
    """
    name = device_name(setting)
    if name == "cpu":
        return [Place(name)]
    if not name.startswith("cuda"):
        device_for(name)
        return [Place(name)]
    found = cards()
    if not found:
        raise InputError(f"device: {name} cannot be used: {_why_none()}. Use auto or cpu.")
    if name == "cuda":
        return [Place(name, card) for card in found]
    index = name.removeprefix("cuda:")
    if not index.isdecimal() or int(index) >= len(found):
        raise InputError(f"device: {name} cannot be used: the last card here is cuda:{len(found) - 1}.")
    return [Place(name)]


def _why_none() -> str:
    import torch

    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} is built without CUDA"
    if VISIBLE in os.environ:
        return f"torch finds no GPU, with {VISIBLE}={os.environ[VISIBLE]}"
    return "torch finds no GPU"


def ranks() -> int:
    """Processes that this one was started with, by torchrun or a scheduler; 1 by itself."""
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal() or size == "0":
        raise InputError(f"WORLD_SIZE is {size!r} in the environment; it must be the number of ranks.")
    return int(size)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_at_one_place(workers: int, places: int) -> int:
    """Workers at the place that has most of them."""
    return math.ceil(workers / places)


def spread(workers: int, where: Sequence[Place]) -> str:
    """Where workers compute, in words: `2 cards (cuda)`."""
    device, most = where[0].device, most_at_one_place(workers, len(where))
    if where[0].card is None or len(where) == 1:
        return f"{device}, all on one card" if where[0].on_gpu and workers > 1 else device
    used = f"{workers} of {len(where)}" if workers < len(where) else str(len(where))
    crowd = f", {'up to ' if workers % len(where) else ''}{most} a card" if most > 1 else ""
    return f"{used} {'card' if used == '1' else 'cards'} ({device}){crowd}"


def rooms(where: Sequence[Place]) -> list[Room]:
    """The memory of each place, in order. The cards are asked at the same time.

    Raises:
        InputError: a card does not answer.
    """
    asked = [_ask(place) if place.on_gpu else None for place in where]
    return [
        _memory_of_machine(place) if process is None else _answer(place, process)
        for place, process in zip(where, asked, strict=True)
    ]


def _memory_of_machine(place: Place) -> Room:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Room(place, size, size)


def _ask(place: Place) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _ASK, place.device],
        env=os.environ | place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _answer(place: Place, process: subprocess.Popen[str]) -> Room:
    try:
        told, errors = process.communicate(timeout=ASK_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        told, errors = "", f"no answer in {ASK_SECONDS} s"
        process.communicate()
    try:
        free, total = map(int, told.split())
    except ValueError:
        card = place.device if place.card is None else f"{place.device} card {place.card}"
        reason = (errors.strip() or "it says nothing").splitlines()[-1]
        raise InputError(f"{card} cannot be used: {reason}") from None
    return Room(place, total, min(total, free + CONTEXT))  # the one that asked has a context there
