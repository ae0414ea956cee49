"""The processes, *ranks*, that learn one stage together: what they tell each other, and how they fail.

All ranks go through the same code. Whatever one alone finds out (what it sampled, that its memory ran out,
that a loss is not finite, that a file is gone), all are told where they meet next (`together`), so that they
decide alike. Data are exchanged right after such a meeting only. So a rank with an error is heard at the next
one, whichever the others are at, and none waits for it in vain; one that died or hangs is named.
"""

from __future__ import annotations

import os
import socket
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from holdfast.errors import HoldfastError, InputError
from holdfast.policy.board import Board
from holdfast.policy.mailbox import ROOM, Mailbox
from holdfast.policy.messages import pickled, portable, unpickled

T = TypeVar("T")
PATIENCE = "HOLDFAST_PATIENCE"  # seconds that ranks wait for each other
USUAL_PATIENCE = 1800.0
BUCKET = 2**25  # numbers that are exchanged at once
SHORT = 4096  # bytes of what a rank tells that are sent without asking how many there are
_LONG = timedelta(days=3650)
_PARTING = timedelta(seconds=3)  # until all ranks have heard that they may go
# Its name since torch 2.13, or its old one.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class TeamLost(HoldfastError):
    """A rank died or does not answer; the team cannot go on."""


class Team:
    """A process group of one; `Ranks` is one of several.

    Collectives are called by all ranks at once, and have the names that they have elsewhere. `together`, `do`
    and `agreed` are those of Python objects, which errors of any rank reach as well.

    Attributes:
        rank: number of this process, from 0, which leads: it alone writes files.
        size: how many there are.
    """

    rank, size = 0, 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def together(self, work: Callable[[], T], place: str = "") -> list[T]:
        """What `work` gives on each rank, in their order. All ranks call this at once.

        Args:
            place: a name for it, by which is seen that all are at the same; by default its own.

        Raises:
            Exception: what `work` raised on the first rank on which it failed, on all ranks.
            TeamLost: a rank died, or has not come here for too long.
        """
        return [work()]

    def do(self, work: Callable[[], T]) -> T:
        """What `work` gives here, once it has succeeded everywhere."""
        return work()

    def agreed(self, work: Callable[[], T], place: str = "") -> T:
        """What `work` gives on the rank that leads, which alone does it."""
        return work()

    def all_reduce(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors, in place, by their sums over ranks, each added up as a binary tree over ranks."""

    def reduce_scatter(self, flats: Sequence[torch.Tensor]) -> torch.Tensor:
        """The sum over ranks of what they have for this one.

        Args:
            flats: a flat tensor for each rank, as long on all of them.

        Returns:
            As long as this rank's own.
        """
        return flats[0]

    def broadcast(self, rank: int, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors, in place, by those of one rank."""

    def check_alike(self, named: Mapping[str, torch.Tensor]) -> None:
        """See that all ranks have the same tensors.

        Raises:
            HoldfastError: naming the first that is not.
        """

    def all_gather(self, numbers: Sequence[int]) -> list[list[int]]:
        """The numbers of every rank, of which all have as many.

        A quick `together`, for where no rank can fail in between; also a barrier.
        """
        return [list(numbers)]

    def check_started_alike(self, facts: Mapping[str, object]) -> None:
        """See that all ranks were started with the same settings and versions.

        Raises:
            HoldfastError: naming the first of these facts that is not.
        """

    def call(self, what: str | None) -> None:
        """Have the other ranks, which wait in `called`, begin something; None: go home."""

    def called(self) -> str | None:
        """Wait, however long, for what the rank that leads says next."""
        return None


class Ranks(Team):
    """Several processes.

    Args:
        store: what they found each other by.

    Raises:
        TeamLost: not all of them came.
    """

    def __init__(self, store: dist.Store, rank: int, size: int) -> None:
        self.rank, self.size, self.store = rank, size, store
        self.patience = patience()
        self._meetings = self._calls = 0
        self._told: Exception | None = None  # the last error
        self._board = Board(self)
        self._mailbox: Mailbox | None = None  # until all have heard of each other
        self._names = [f"rank {one} of {size}" for one in range(size)]
        try:
            store.set(f"here/{rank}", "")
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=dist.PrefixStore("group", store),
                rank=rank,
                world_size=size,
                timeout=timedelta(seconds=self.patience),
            )
        except RuntimeError as error:
            raise TeamLost(f"The {size} ranks did not find each other: {self._absent() or error}") from error
        self._names = self.together(
            lambda: f"rank {rank} of {size} (process {os.getpid()} on {socket.gethostname()})"
        )
        self._mailbox = Mailbox.of(self)

    def together(self, work: Callable[[], T], place: str = "") -> list[T]:
        place = place or _name(work)
        made: T | None = None
        failure: Exception | None = None
        try:
            made = work()
        except TeamLost:
            raise
        except Exception as error:
            if error is self._told:  # within a longer piece of work: all have it, and leave that, too
                raise
            failure = error
        told = self._tell(place, made, failure)
        for rank, (_, _, theirs) in enumerate(told):
            if theirs is not None:
                self._told = failure if failure is not None and rank == self.rank else theirs
                raise self._told
        if len(places := {where for where, *_ in told}) > 1:
            raise TeamLost(
                f"Ranks are at different places of the program ({', '.join(sorted(places))}). A strategy or "
                "reward of your own must do the same on all ranks."
            )
        return [one for _, one, _ in told]

    def agreed(self, work: Callable[[], T], place: str = "") -> T:
        def led() -> T | None:
            return work() if self.leads else None

        return self.together(led, place or _name(work))[0]  # type: ignore[return-value]

    def do(self, work: Callable[[], T]) -> T:
        made: list[T] = []
        self.together(lambda: made.append(work()), _name(work))
        return made[0]

    def all_reduce(self, tensors: Sequence[torch.Tensor]) -> None:
        for bucket in _buckets(tensors):
            if bucket[0].is_cpu and self._all_reduce_on_board(bucket):
                continue
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            padded = flat.new_zeros(-(-flat.numel() // self.size) * self.size)
            padded[: flat.numel()] = flat
            part = self.reduce_scatter(padded.chunk(self.size))
            with self._exchange():
                _all_gather(padded, part)
            _put(padded, bucket)

    def _all_reduce_on_board(self, bucket: Sequence[torch.Tensor]) -> bool:
        """Add up a bucket in memory that all ranks see; False, and nothing is done, where there is none."""
        count = sum(tensor.numel() for tensor in bucket)
        if (board := self._board.rows(count, bucket[0].dtype)) is None:
            return False
        *rows, total = board
        torch.cat([tensor.flatten() for tensor in bucket], out=rows[self.rank])
        self.all_gather([0])  # all have written
        part = slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)
        total[part] = tree_sum([row[part] for row in rows])
        self.all_gather([0])
        _put(total, bucket)  # none writes another sum before all have come to the next one
        return True

    def reduce_scatter(self, flats: Sequence[torch.Tensor]) -> torch.Tensor:
        sums = [flats[self.rank][:0]]
        for start in range(0, max(len(flat) for flat in flats), BUCKET):
            parts = [flat[start : start + BUCKET] for flat in flats]
            own = len(parts[self.rank])
            theirs = flats[0].new_empty(self.size, own)
            with self._exchange():
                dist.all_to_all_single(
                    theirs.flatten(), torch.cat(parts), [own] * self.size, [len(part) for part in parts]
                )
            sums.append(tree_sum(list(theirs.unbind())))
        return torch.cat(sums)  # a copy: the parts are freed

    def broadcast(self, rank: int, tensors: Sequence[torch.Tensor]) -> None:
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            with self._exchange():
                dist.broadcast(flat, rank)
            if rank != self.rank:
                _put(flat, bucket)

    def check_alike(self, named: Mapping[str, torch.Tensor]) -> None:
        def sums() -> list[float]:
            return [tensor.detach().double().sum().item() for tensor in named.values()]

        first, *others = self.together(sums)
        for rank, other in enumerate(others, 1):
            for name, one, another in zip(named, first, other, strict=True):
                if one != another:
                    raise HoldfastError(
                        f"{name} is not the same on rank 0 and rank {rank}: something (a strategy of your "
                        "own?) computes differently on them."
                    )

    def check_started_alike(self, facts: Mapping[str, object]) -> None:
        first, *others = self.together(lambda: dict(facts), "facts")
        for rank, other in enumerate(others, 1):
            for name in dict.fromkeys([*first, *other]):
                if first.get(name) != other.get(name):
                    raise HoldfastError(
                        f"{name} is {first.get(name)} on rank 0 and {other.get(name)} on rank {rank}: start "
                        "all ranks with the same command, files and versions."
                    )

    def all_gather(self, numbers: Sequence[int]) -> list[list[int]]:
        said = array("q", numbers).tobytes()
        with self._meeting():
            return [array("q", one).tolist() for one in self._gathered_rows(said, len(said))]

    def call(self, what: str | None) -> None:
        self.store.set(f"call/{self._calls}", what or "")
        self._calls += 1
        if what is None:  # this process may keep the store, which ends with it
            others = [f"home/{rank}" for rank in range(self.size) if rank != self.rank]
            with suppress(RuntimeError):
                self.store.wait(others, _PARTING)

    def called(self) -> str | None:
        name = f"call/{self._calls}"
        try:
            self.store.wait([name], _LONG)
            self._calls += 1
            if told := self.store.get(name).decode():
                return told
            self.store.set(f"home/{self.rank}", "")
            return None
        except RuntimeError as error:
            raise self._lost(error) from error

    def _tell(self, place: str, made: Any, failure: Exception | None) -> list[tuple[str, Any, Any]]:
        """What every rank says of itself: where it is, what it made, or why it could not."""
        said = pickled((place, None if failure else made, portable(failure)))
        return [unpickled(one) for one in self._gathered(said)]

    def _gathered(self, content: bytes) -> list[bytes]:
        """What every rank says. At once where it is short; else its length comes first."""
        short = ROOM - 8 if self._mailbox else SHORT
        with self._meeting():
            told = self._gathered_rows(len(content).to_bytes(8) + content[:short], 8 + short)
            lengths = [int.from_bytes(one[:8]) for one in told]
            if (longest := max(lengths)) > short:
                rest = self._gathered_rows(content[short:], longest - short)
                told = [one + more for one, more in zip(told, rest, strict=True)]
        return [one[8 : 8 + length] for one, length in zip(told, lengths, strict=True)]

    def _gathered_rows(self, content: bytes, size: int) -> list[bytes]:
        """What every rank says, in `size` bytes at most. By messages, each comes filled up to them."""
        if self._mailbox and size <= ROOM:
            return self._mailbox.exchange(content, self.patience)
        own = torch.frombuffer(bytearray(content.ljust(size, b"\0")), dtype=torch.uint8)
        everyone = own.new_empty(self.size * size)
        _all_gather(everyone, own)
        return [one.numpy().tobytes() for one in everyone.split(size)]

    @contextmanager
    def _meeting(self) -> Iterator[None]:
        """An exchange that is counted, so that who does not come to it can be named."""
        self._meetings += 1
        with self._exchange():
            self.store.set(f"at/{self.rank}", str(self._meetings))
            yield

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """Whatever fails in the block is a lost team."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> TeamLost:
        """What to say where an exchange failed."""
        if self._mailbox:
            self._mailbox.leave()
        with suppress(RuntimeError):
            self.store.set(f"over/{self.rank}", "")
        who = ""
        for _ in range(20):  # what a rank told the store just before it died may be on its way
            if who := self._missing():
                break
            time.sleep(0.05)
        who = who or self._silent()
        return TeamLost(
            f"Lost {who}: it died, or did not answer for {self.patience:g} s ({PATIENCE}). "
            f"What it said last stands above, or in its log. ({' '.join(str(error).split())[:200]})"
        )

    def _missing(self) -> str:
        """The ranks that have not come to this meeting."""
        try:
            last = self._last()
        except RuntimeError:
            return self._names[0]  # it keeps the store, or went with who does
        return ", ".join(self._names[rank] for rank, at in enumerate(last) if at < self._meetings)

    def _silent(self) -> str:
        """Where all have come: the ranks that neither went on from this meeting nor gave it up."""
        with suppress(RuntimeError):
            stay = [rank for rank, at in enumerate(self._last()) if at == self._meetings]
            silent = [self._names[rank] for rank in stay if not self.store.check([f"over/{rank}"])]
            if silent:
                return " or ".join(silent)
        return "a rank"

    def _last(self) -> list[int]:
        """The meeting that each rank came to last."""
        return [
            int(self.store.get(f"at/{rank}")) if self.store.check([f"at/{rank}"]) else 0
            for rank in range(self.size)
        ]

    def _absent(self) -> str:
        """The ranks that have not come at all."""
        with suppress(RuntimeError):
            here = [self.store.check([f"here/{rank}"]) for rank in range(self.size)]
            if absent := [name for name, came in zip(self._names, here, strict=True) if not came]:
                return f"{', '.join(absent)} did not come within {self.patience:g} s ({PATIENCE})."
        return ""


def patience() -> float:
    """Seconds that ranks wait for each other.

    Raises:
        InputError: what is set is no such number.
    """
    told = os.environ.get(PATIENCE, str(USUAL_PATIENCE))
    with suppress(ValueError):
        if 0 < (seconds := float(told)) <= _LONG.total_seconds():
            return seconds
    raise InputError(f"{PATIENCE} is '{told}'; it must be a number of seconds above 0.")


def tree_sum(values: list[torch.Tensor]) -> torch.Tensor:
    """Their sum as a binary tree over positions, in place of the first."""
    while len(values) > 1:
        pairs = range(0, len(values), 2)
        values = [values[i].add_(values[i + 1]) if i + 1 < len(values) else values[i] for i in pairs]
    return values[0]


def _buckets(tensors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Tensors of one type that follow each other, few enough to be exchanged at once."""
    buckets: list[list[torch.Tensor]] = []
    size = 0
    for tensor in tensors:
        if not buckets or size + tensor.numel() > BUCKET or tensor.dtype != buckets[-1][0].dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(tensor)
        size += tensor.numel()
    return buckets


def _put(flat: torch.Tensor, tensors: Sequence[torch.Tensor]) -> None:
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()


def _name(work: Callable[[], Any]) -> str:
    return getattr(work, "__qualname__", "")
