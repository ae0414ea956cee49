"""A model as blocks, its layers, of which one at a time needs its weights.

They are gathered and dropped by who runs them (`sharding.py`); here is what belongs together, who holds what,
and a pass that keeps nothing but its inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.policy.sharding import Sharded

STATE_BYTES = 16  # of a trained number beside its weight: gradient, moments and what bfloat16 cannot hold


class Unit:
    """Parameters that are gathered together.

    Attributes:
        trained: those with gradients, and `places` their numbers among all that are trained.
        here: whether this rank has the numbers of all of them.
        calls: passes whose backward pass is to come.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.trained = [parameter for parameter in parameters if parameter.requires_grad]
        self.places: range = range(0)
        self.here = False
        self.calls = 0


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The layers of the model's towers, not those within others.

    Raises:
        InputError: there are none.
    """
    blocks: list[nn.Module] = []
    inner: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer) and module not in inner:
            blocks.append(module)
            inner.update(module.modules())
    if not blocks:
        raise InputError(
            f"shard: full gathers a model layer by layer, and {type(model).__name__} has none that "
            "transformers marks as such; take shard: optimizer."
        )
    return blocks


def units_of(model: nn.Module, blocks: Sequence[nn.Module]) -> tuple[list[Unit], list[Unit]]:
    """Of blocks, and of the modules that have the other parameters; what blocks share is among these."""
    uses = Counter(parameter for block in blocks for parameter in block.parameters())
    inside = [Unit([one for one in block.parameters() if uses[one] == 1]) for block in blocks]
    seen = {parameter for unit in inside for parameter in unit.parameters}
    rest = []
    for module in model.modules():
        own = [one for one in module.parameters(recurse=False) if one not in seen]
        seen.update(own)
        if own:
            rest.append(Unit(own))
    return inside, rest


def owners(parameters: Sequence[nn.Parameter], ranks: int) -> dict[nn.Parameter, int]:
    """Who holds which: the largest first, each by whom has least."""

    def size(parameter: nn.Parameter) -> int:
        return parameter.numel() * (parameter.element_size() + STATE_BYTES * parameter.requires_grad)

    owners, load = dict[nn.Parameter, int](), [0] * ranks
    for parameter in sorted(parameters, key=size, reverse=True):
        owners[parameter] = rank = load.index(min(load))
        load[rank] += size(parameter)
    return owners


def room(parameter: nn.Parameter, place: int, line: int) -> torch.Tensor:
    """Memory for its numbers, which begins at this place of a line of so many bytes."""
    size = parameter.element_size()
    flat = torch.empty(parameter.numel() + line // size, dtype=parameter.dtype, device=parameter.device)
    start = (place - flat.data_ptr()) % line // size
    return flat[start : start + parameter.numel()].view(parameter.shape)


def within(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in what a block is given."""
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from within(one)


class Recomputed(torch.autograd.Function):
    """The pass of a block, of which nothing but the inputs is kept."""

    @staticmethod
    def forward(
        ctx: Any, weights: Sharded, number: int, call: Callable[..., Any], _: torch.Tensor, *values: Any
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.rest = weights, number, call
        ctx.values = [None if torch.is_tensor(value) else value for value in values]
        ctx.places = [place for place, value in enumerate(values) if torch.is_tensor(value)]
        ctx.save_for_backward(*(values[place] for place in ctx.places))
        weights.begun(number)
        with weights.gathered(number), torch.enable_grad():  # by the kernels that compute it once more
            made = call(*_leaves(values, ctx.needs_input_grad[4:]))
        return tuple(map(_detached, made)) if isinstance(made, tuple) else _detached(made)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor | None) -> Any:
        (weights, number, call), values = ctx.rest, list(ctx.values)
        for place, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            values[place] = tensor
        leaves = _leaves(values, ctx.needs_input_grad[4:])
        with weights.gathered(number):
            found: list[torch.Tensor | None] = [None] * len(leaves)
            with torch.enable_grad():
                made = call(*(_Caught.apply(found, *each) for each in enumerate(leaves)))
            outputs = made if isinstance(made, tuple) else (made,)
            known = [place for place, slope in enumerate(slopes) if slope is not None]
            torch.autograd.backward([outputs[place] for place in known], [slopes[place] for place in known])
        weights.ended(number)
        return None, None, None, None, *found


class _Caught(torch.autograd.Function):
    """A value, whose gradient is kept as it is laid out: sums over it depend on that in their last bits.

    A leaf's own would be laid out like the leaf.
    """

    @staticmethod
    def forward(ctx: Any, found: list[torch.Tensor | None], place: int, value: Any) -> Any:
        ctx.found, ctx.place = found, place
        return value.view_as(value) if torch.is_tensor(value) else value

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[None, None, None]:
        ctx.found[ctx.place] = slope
        return None, None, None


def _leaves(values: Sequence[Any], needed: Sequence[bool]) -> list[Any]:
    """Tensors apart from the graph that they come from."""
    return [
        value.detach().requires_grad_(needs) if torch.is_tensor(value) else value
        for value, needs in zip(values, needed, strict=True)
    ]


def _detached(made: Any) -> Any:
    return made.detach() if torch.is_tensor(made) else made
