"""Work on a batch in *shards*: a fixed number of parts, which determines results as the batch size does.

Every rank knows the whole batch, and computes the shards that are its own. What is computed for a shard has
the same shapes, and on one kind of processor the same bits, however many ranks there are; and what is added
up over shards is added in one order, as a binary tree over their numbers. So a stage of 4 shards gives the
same bits on 1, 2 or 4 ranks. One shard, the default, is the whole batch, and nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate, pairwise
from typing import TypeVar

import torch

from holdfast.errors import InputError
from holdfast.policy.budget import TokenBudget
from holdfast.policy.team import Team

T = TypeVar("T")
PART = 1 << 18  # numbers of a gradient whose squares are added up at once on a CPU


class Shards:
    """How a policy's batches are cut, and among whom the parts are shared out.

    Args:
        count: a power of two, and a multiple of the team's size.
        budget: of the policy, on which ranks agree again where one's memory ran out.

    Attributes:
        last: whether a shard's gradient is complete after the coming backward pass.

    Raises:
        InputError: they cannot be shared out evenly.
    """

    def __init__(self, count: int = 1, team: Team | None = None, budget: TokenBudget | None = None) -> None:
        self.count, self.team, self.budget = count, team or Team(), budget
        if count % self.team.size:
            raise InputError(f"{self.team.size} ranks cannot share {count} shards evenly; change either.")
        self._apart = False
        self.last = True

    def of(self, costs: Sequence[int]) -> list[range]:
        """The rows of each shard, which follow each other; shards cost alike, as far as whole rows let them.

        Where there are fewer rows than shards, some have none.

        Args:
            costs: of each row.
        """
        ends = [end * self.count for end in accumulate(costs, initial=0)]
        total = ends[-1] // self.count

        def nearest(aim: int) -> int:
            return min(range(len(ends)), key=lambda place: abs(ends[place] - aim))

        cuts = [nearest(number * total) for number in range(1, self.count)]
        return [range(start, stop) for start, stop in pairwise([0, *cuts, len(costs)])]

    def each(self, costs: Sequence[int], work: Callable[[range], T]) -> list[T]:
        """What `work` makes of the rows of every shard that has any, in order; a rank does its own shards.

        Within `work` a rank is by itself: a batch there is not cut again.

        Args:
            costs: of each row.
        """
        if self.count == 1 or self._apart or not costs:
            return [work(range(len(costs)))]

        def own() -> list[T]:
            return [work(some) for some in self._own(costs) if some]

        return [one for made in self._together(own, work.__qualname__) for one in made]

    @contextmanager
    def by_itself(self) -> Iterator[None]:
        """Within the block this rank computes whole batches alone, whatever the others do."""
        before, self._apart = self._apart, True
        try:
            yield
        finally:
            self._apart = before

    def agreed(self, work: Callable[[], T]) -> T:
        """What `work` finds out on the rank that leads, for all; within `each`, here."""
        if self._apart:
            return work()

        def led() -> T | None:
            return work() if self.team.leads else None

        return self._together(led, work.__qualname__)[0]  # type: ignore[return-value]

    def gradients(
        self, parameters: Sequence[torch.nn.Parameter], costs: Sequence[int], work: Callable[[range], T]
    ) -> list[T]:
        """As `each`, of work that leaves gradients: their sums over shards become the parameters' gradients.

        Of several shards they are of at least float32.
        """
        if self.count == 1:
            return [work(range(len(costs)))]
        sums = TreeSum()
        clear(parameters)

        def own() -> tuple[list[T], bytes]:
            made = []
            for some in self._own(costs):
                if some:
                    made.append(work(some))
                sums.push([parameter.grad for parameter in parameters])
                for parameter in parameters:
                    parameter.grad = None
            return made, bytes(gradient is not None for gradient in sums.total())

        told = self._together(own, place_of(work, costs))
        anywhere = [any(ranks) for ranks in zip(*(there for _, there in told), strict=True)]
        for parameter, gradient, is_there in zip(parameters, sums.total(), anywhere, strict=True):
            if is_there and gradient is None:
                gradient = torch.full_like(parameter, -0.0, dtype=parameter.grad_dtype)  # changes no sum
            parameter.grad = gradient
        self.team.all_reduce([parameter.grad for parameter in parameters if parameter.grad is not None])
        return [one for made, _ in told for one in made]

    def norm(self, parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        """Of all their gradients; of several shards, added up in float64, where the order hardly matters."""
        norms = self._norms(parameters, torch.float32 if self.count == 1 else torch.float64)
        norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())
        return norm if self.count == 1 else norm.float()

    def holds(self, parameter: torch.nn.Parameter) -> bool:
        """Whether this rank has its numbers, and steps it where ranks share that out."""
        return True

    def whole(self) -> AbstractContextManager[None]:
        """All weights are at hand within the block."""
        return nullcontext()

    def check_alike(self, model: torch.nn.Module) -> None:
        """See that all ranks have the same weights.

        Raises:
            HoldfastError: naming the first that is not.
        """
        self.team.check_alike(dict(model.named_parameters()))

    def end(self) -> None:
        """Leave the model as it was found."""

    def _norms(self, parameters: Sequence[torch.nn.Parameter], least: torch.dtype) -> list[torch.Tensor]:
        """Of each gradient that there is, in at least this type."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return [norm_of(one, torch.promote_types(one.dtype, least)) for one in gradients]

    def _own(self, costs: Sequence[int]) -> list[range]:
        each = self.count // self.team.size
        return self.of(costs)[self.team.rank * each : (self.team.rank + 1) * each]

    def _together(self, work: Callable[[], T], place: str) -> list[T]:
        with self.by_itself():
            told = self.team.together(lambda: (work(), self.budget.tokens if self.budget else None), place)
        bounds = [tokens for _, tokens in told if tokens is not None]
        if self.budget is not None and bounds:
            self.budget.tokens = min(bounds)
        return [made for made, _ in told]


def norm_of(gradient: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The norm of one gradient. On a CPU torch adds its squares up one after another, so that float32 loses
    a tenth of half a thousand million of them (an embedding's); of parts it does not."""
    if gradient.is_cpu and gradient.numel() > PART:
        parts = gradient.flatten().split(PART)
        return torch.linalg.vector_norm(torch.stack([norm_of(part, dtype) for part in parts]))
    return torch.linalg.vector_norm(gradient, dtype=dtype)


def place_of(work: Callable[..., object], costs: Sequence[int]) -> str:
    """The name under which ranks meet for work on rows: they see that it is the same rows on all of them."""
    return f"{work.__qualname__} on {len(costs)} rows of {sum(costs)} tokens"


def clear(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Have their gradients added up anew, in at least float32."""
    for parameter in parameters:
        parameter.grad = None
        parameter.grad_dtype = torch.promote_types(parameter.dtype, torch.float32)


class TreeSum:
    """Adds lists of tensors, which come one after the other, as a binary tree; keeps log2 of them at most."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, list[torch.Tensor | None]]] = []

    def push(self, tensors: Sequence[torch.Tensor | None]) -> None:
        """Add the next; None adds nothing."""
        level, sums = 0, list(tensors)
        while self._stack and self._stack[-1][0] == level:
            sums = _added(self._stack.pop()[1], sums)
            level += 1
        self._stack.append((level, sums))

    def total(self) -> list[torch.Tensor | None]:
        """Once a power of two of them have come."""
        ((_, sums),) = self._stack
        return sums


def _added(
    left: Sequence[torch.Tensor | None], right: Sequence[torch.Tensor | None]
) -> list[torch.Tensor | None]:
    return [
        one if other is None else other if one is None else one.add_(other)
        for one, other in zip(left, right, strict=True)
    ]
