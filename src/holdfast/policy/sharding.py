"""Weights, gradients and moments in parts: each parameter lies on one rank of the team (`shard: full`).

On the others it has its shape and no numbers. A block (`blocks.py`) is gathered for its forward pass, and
again for its backward pass, which computes it once more; then its gradients go to the ranks that hold its
parameters. What is outside blocks (embeddings, head, last norms) is gathered for a shard; for sampling,
everything is. (Stage 3 of Rajbhandari et al., arXiv 1910.02054, by whole parameters, so that an optimiser
steps what it always does.)

Ranks need not do the same, as they must with PyTorch's FSDP2: before each exchange all say what they ask
for, and all serve what any asked for. Who is done goes on serving. So parts of unequal number, prompts
without images and errors in the midst of a pass leave nobody waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from torch import nn

from holdfast.errors import InputError
from holdfast.policy.blocks import Recomputed, Unit, blocks_of, owners, room, units_of, within
from holdfast.policy.budget import TokenBudget
from holdfast.policy.lean import Lean
from holdfast.policy.shards import Shards, TreeSum, clear, place_of
from holdfast.policy.team import Team, TeamLost

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy

T = TypeVar("T")
P = ParamSpec("P")
NOTHING = -1  # is asked for
WITHOUT, WITH = 1, 2  # a gradient: of a parameter that waits to be added up
LINE = 64  # bytes, within which the place of a weight changes the last bits of products on a CPU


def shards_of(policy: Policy, count: int, team: Team, full: bool) -> Shards:
    """So many, of a policy's batches; if `full`, with its weights in parts.

    Raises:
        InputError: ranks cannot share them evenly, or the model cannot be taken apart.
    """
    if not full or team.size == 1:
        return Shards(count, team, policy.budget)
    return Sharded(count, team, policy.budget, policy.model, policy.lean)


def _with_others(exchange: Callable[P, T]) -> Callable[P, T]:
    """Where memory runs out in the midst of it, others wait for this rank, and it cannot be tried again."""

    @wraps(exchange)
    def tried(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return exchange(*arguments, **named)
        except torch.OutOfMemoryError as error:
            raise TeamLost(
                f"Out of memory as weights or gradients were exchanged ({error}). Lower model.token_budget."
            ) from error

    return tried


class Sharded(Shards):
    """Shards of batches, computed by ranks that have a part of the model each.

    Args:
        lean: the model's text layers as they are written out, where they are.

    Raises:
        InputError: the model is not made of blocks that are known, or as `Shards`.
    """

    def __init__(
        self, count: int, team: Team, budget: TokenBudget, model: nn.Module, lean: Lean | None = None
    ) -> None:
        super().__init__(count, team, budget)
        blocks = blocks_of(model)
        self._blocks, self._rest = units_of(model, blocks)
        self._units = [*self._blocks, *self._rest]
        trained = 0
        for unit in self._units:
            unit.places = range(trained, trained + len(unit.trained))
            trained = unit.places.stop
        self._waits = [0] * trained  # of each trained parameter: WITH, WITHOUT, or nothing to send
        self._unsent: dict[int, list[torch.Tensor | None]] = {}  # gradients, by number of the unit
        self._left: set[int] = set()  # numbers of units whose gradients of this shard left
        self._sums: dict[nn.Parameter, torch.Tensor] = {}  # over ranks, of parameters that are held here
        self._owner = owners([one for unit in self._units for one in unit.parameters], team.size)
        self._held = [one for one, rank in self._owner.items() if rank == team.rank]
        self._places: dict[nn.Parameter, int] = {}  # in the line of memory that its numbers begin in
        self._open = False
        self._anchor = torch.empty(0, requires_grad=True)  # by which autograd comes to trained weights
        self._undo: list[Callable[[], None]] = []
        for number, block in enumerate(blocks):
            self._wrap(number, block)
            for layer in lean.layers if lean is not None else ():
                if layer.layer is block:
                    layer.within = partial(self._run, number)
                    self._undo.append(partial(setattr, layer, "within", None))
        for unit in self._units:
            self._drop(unit)

    def holds(self, parameter: nn.Parameter) -> bool:
        return self._owner[parameter] == self.team.rank

    def check_alike(self, model: nn.Module) -> None:
        """No weight is on two ranks."""

    def end(self) -> None:
        self._gather_all()
        while self._undo:
            self._undo.pop()()

    @contextmanager
    def whole(self) -> Iterator[None]:
        self._gather_all()
        try:
            yield
        finally:
            for unit in self._units:
                self._drop(unit)

    def gradients(
        self, parameters: Sequence[nn.Parameter], costs: Sequence[int], work: Callable[[range], T]
    ) -> list[T]:
        """As of all shards: here of parameters that this rank holds.

        Ranks take shards in turn, so that a round of them is a branch of the tree: its sum alone is kept.
        """
        clear(parameters)
        sums, made = TreeSum(), list[T]()

        def own(some: range) -> list[T]:
            given = [work(some)] if some else []
            for number in range(len(self._units)):
                self._leave(number)
            return given

        shards = self.of(costs)
        for first in range(0, self.count, self.team.size):
            some = shards[first + self.team.rank]
            told = self._together(partial(own, some), place_of(work, costs))
            made += [one for given in told for one in given]
            sums.push([self._sums.get(parameter) for parameter in parameters])
        for parameter, gradient in zip(parameters, sums.total(), strict=True):
            parameter.grad = gradient
        return made

    def _norms(self, parameters: Sequence[nn.Parameter], least: torch.dtype) -> list[torch.Tensor]:
        def own() -> dict[int, torch.Tensor]:
            held = {place: one for place, one in enumerate(parameters) if one.grad is not None}
            return dict(zip(held, super(Sharded, self)._norms(list(held.values()), least), strict=True))

        norms = {place: norm for told in self.team.together(own) for place, norm in told.items()}
        return [norms[place].to(parameters[place].device) for place in sorted(norms)]

    def _together(self, work: Callable[[], T], place: str) -> list[T]:
        def served() -> T:
            with self._passes():
                return work()

        self._begin(place)
        return super()._together(served, place)

    @contextmanager
    def _passes(self) -> Iterator[None]:
        """Within the block ranks compute apart; none leaves it before all have what they ask for."""
        if all(unit.here for unit in self._units):
            yield
            return
        for unit in self._units:
            unit.calls = 0
        self._left.clear()
        self._unsent.clear()
        self._sums.clear()
        self._waits = [0] * len(self._waits)
        for unit in self._rest:
            self._gather(unit)
        self._open = True
        try:
            yield
        except TeamLost:
            raise
        except Exception:
            self._serve()
            raise
        else:
            self._serve()
        finally:
            self._open = False
            for unit in self._rest:
                self._drop(unit)

    def _serve(self) -> None:
        while self._meet(NOTHING):
            pass

    def _meet(self, asked: int) -> bool:
        """Gather what any rank asks for, and add up the gradients that all have; whether any asked."""
        told = self.team.all_gather([asked, *self._waits])
        wanted = sorted({one[0] for one in told} - {NOTHING})
        for number in wanted:
            self._gather(self._units[number], keep=number == asked)
        for number in sorted(self._unsent):
            unit = self._units[number]
            waits = [one[1 + unit.places.start : 1 + unit.places.stop] for one in told]
            if all(map(all, waits)):
                self._add_up(number, [WITH in ranks for ranks in zip(*waits, strict=True)])
        return bool(wanted)

    @_with_others
    def _gather(self, unit: Unit, keep: bool = True) -> None:
        """Have what other ranks hold of a unit; all call this at once, and those that need not keep it."""
        for rank in range(self.team.size):
            theirs = [one for one in unit.parameters if self._owner[one] == rank]
            if rank == self.team.rank:
                self.team.broadcast(rank, [one.data for one in theirs])
                continue
            copies = [room(one, self._places[one], LINE) for one in theirs]
            self.team.broadcast(rank, copies)
            if keep:
                for parameter, copy in zip(theirs, copies, strict=True):
                    parameter.data = copy
        unit.here = keep

    def _begin(self, place: str) -> None:
        """Hear of errors from before, and where the numbers lie that are going to be asked for."""
        told = self.team.together(lambda: [one.data_ptr() % LINE for one in self._held], place)
        for rank, places in enumerate(told):
            theirs = [one for one, owner in self._owner.items() if owner == rank]
            self._places |= dict(zip(theirs, places, strict=True))

    def _gather_all(self) -> None:
        self._begin("weights")
        for unit in self._units:
            self._gather(unit)

    def _drop(self, unit: Unit) -> None:
        """Keep the shape of what other ranks hold; whoever uses it all the same gets what is not a number."""
        for parameter in unit.parameters:
            if not self.holds(parameter):
                nan = torch.full((), torch.nan, dtype=parameter.dtype, device=parameter.device)
                parameter.data = nan.expand(parameter.shape)
        unit.here = False

    def _leave(self, number: int) -> None:
        """Take a unit's gradients, which are complete, to be sent; those of another try are dropped."""
        unit = self._units[number]
        gradients = [parameter.grad for parameter in unit.trained]
        for parameter in unit.trained:
            parameter.grad = None
        if number not in self._left and gradients:
            self._left.add(number)
            self._unsent[number] = gradients
            for place, gradient in zip(unit.places, gradients, strict=True):
                self._waits[place] = WITHOUT if gradient is None else WITH

    @_with_others
    def _add_up(self, number: int, anywhere: list[bool]) -> None:
        """Sum a unit's gradients over ranks, each where its parameter is held."""
        unit = self._units[number]
        sent: list[list[torch.Tensor]] = [[] for _ in range(self.team.size)]
        mine = []
        for parameter, gradient, there in zip(unit.trained, self._unsent.pop(number), anywhere, strict=True):
            if there:
                if gradient is None:  # changes no sum
                    gradient = torch.full_like(parameter, -0.0, dtype=parameter.grad_dtype)
                sent[self._owner[parameter]].append(gradient.flatten())
                mine += [parameter] * self.holds(parameter)
        empty = torch.empty(0, dtype=unit.trained[0].grad_dtype, device=unit.trained[0].device)
        total = self.team.reduce_scatter([torch.cat([empty, *gradients]) for gradients in sent])
        for parameter, part in zip(mine, total.split([one.numel() for one in mine]), strict=True):
            self._sums[parameter] = part.view(parameter.shape)
        self._waits[unit.places.start : unit.places.stop] = [0] * len(unit.places)

    def _wrap(self, number: int, block: Any) -> None:
        """Have a block gathered where it is called; its own checkpointing would compute it a third time."""
        before, checkpointing = block.forward, block.gradient_checkpointing

        def undo() -> None:
            del block.forward
            block.gradient_checkpointing = checkpointing

        block.forward, block.gradient_checkpointing = partial(self._run, number, before), False
        self._undo.append(undo)

    def _run(self, number: int, work: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        """What `work`, the pass of a block, makes of its inputs."""
        unit = self._units[number]
        if unit.here:
            return work(*inputs, **named)

        def call(*values: Any) -> Any:
            return work(*values[: len(inputs)], **dict(zip(named, values[len(inputs) :], strict=True)))

        values = (*inputs, *named.values())
        learns = [*unit.trained, *(one for one in values if torch.is_tensor(one) and one.requires_grad)]
        if torch.is_grad_enabled() and learns:
            if any(
                one.requires_grad for value in values if not torch.is_tensor(value) for one in within(value)
            ):
                raise InputError(
                    "shard: full computes a model layer by layer, and layers of this one are given what "
                    "others made besides their output (shared keys, say); take shard: optimizer."
                )
            return Recomputed.apply(self, number, call, self._anchor, *values)
        with self.gathered(number):
            return call(*values)

    @contextmanager
    def gathered(self, number: int) -> Iterator[None]:
        assert self._open, "weights in parts are computed with where all ranks serve them"
        self._meet(number)
        try:
            yield
        finally:
            self._drop(self._units[number])

    def begun(self, number: int) -> None:
        """A block has a pass more whose backward pass is to come."""
        self._units[number].calls += 1

    def ended(self, number: int) -> None:
        """That came; the last one of a shard completes the block's gradients."""
        unit = self._units[number]
        unit.calls -= 1
        if self.last and not unit.calls:
            self._leave(number)
