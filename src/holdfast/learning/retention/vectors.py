"""Vectors over all trained weights: the weights themselves, their gradient, what is added to it; and masks.

A vector [N] has the trained weights one after another, in at least float32; a mask is one of booleans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from holdfast.errors import HoldfastError
from holdfast.learning.bfloat16 import whole
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_parameters

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


def flat_weights(policy: Policy) -> torch.Tensor:
    """The trained weights [N], a copy."""
    return _laid_out(policy, lambda parameter: parameter)


def exact_weights(policy: Policy, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """The trained weights [N], a copy, with what the optimiser keeps of those in bfloat16."""
    return _laid_out(policy, lambda parameter: whole(parameter, optimizer.state.get(parameter, {})))


def inherited(stage: Stage, name: str, *keys: str) -> dict[str, torch.Tensor]:
    """Vectors that a strategy left at the end of the stage before; none in the first stage.

    Raises:
        HoldfastError: they are not those of this model.
    """
    left = stage.inherited.get(name)
    if not left:
        return {}
    count = sum(one.numel() for one in trained_parameters(stage.policy))
    for key in keys:
        found = left[key].numel() if key in left else 0
        if found != count or not bool(torch.isfinite(left[key].float().sum())):
            raise unusable(name, f"its {key} has {found} usable numbers, the model {count} trained weights")
    return {key: left[key].to(stage.policy.device) for key in keys}


def unusable(name: str, why: str) -> HoldfastError:
    """What is raised where a strategy cannot go on from what it left."""
    return HoldfastError(
        f"retention: what {name} left at the end of the stage before does not fit this model ({why}). It is "
        "damaged, or of another model; remove that stage from the store, and it is learned again."
    )


def flat_gradient(policy: Policy) -> torch.Tensor:
    """The gradient of the step [N], a copy; 0 where a parameter has none."""
    return _laid_out(policy, lambda parameter: parameter.grad)


@torch.no_grad()
def _laid_out(policy: Policy, value: Callable[[torch.nn.Parameter], torch.Tensor | None]) -> torch.Tensor:
    """A value of each trained parameter's shape as a vector [N]; 0 where there is none.

    Parameter by parameter, so that there is never a second vector beside it.
    """
    parameters = trained_parameters(policy)
    vector_N = torch.zeros(sum(one.numel() for one in parameters), device=parameters[0].device)
    for parameter, part in views(policy, vector_N):
        if (found := value(parameter)) is not None:
            part.copy_(found)
    return vector_N


def views(policy: Policy, vector_N: torch.Tensor) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
    """Each trained parameter with its part of a vector, in its shape."""
    parameters = trained_parameters(policy)
    parts = vector_N.split([one.numel() for one in parameters])
    return ((one, part.view_as(one)) for one, part in zip(parameters, parts, strict=True))


@torch.no_grad()
def set_weights(policy: Policy, vector_N: torch.Tensor) -> None:
    """Let the trained weights be these."""
    for parameter, part in views(policy, vector_N):
        parameter.copy_(part)


@torch.no_grad()
def add_to_gradient(policy: Policy, term_N: torch.Tensor) -> float:
    """Add a term's gradient to the step's; its norm over that of the sum, the term's *share*."""
    total = torch.zeros((), device=term_N.device)
    for parameter, part in views(policy, term_N):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter, dtype=parameter.grad_dtype)
        parameter.grad += part.to(parameter.grad.dtype)
        total += parameter.grad.float().square().sum()
    return float(term_N.norm() / total.sqrt().clamp_min(1e-30))


def top_mask(values: torch.Tensor, share: float) -> torch.Tensor:
    """Where the largest ⌊share · n⌋ of n values stand; at least one."""
    mask = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    mask[values.flatten().topk(max(1, int(share * values.numel()))).indices] = True
    return mask.view_as(values)


def random_mask(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A mask with as many entries as another, elsewhere: the control of what chose that one."""
    order = torch.randperm(like.numel(), generator=generator, device=generator.device).to(like.device)
    mask = torch.zeros(like.numel(), dtype=torch.bool, device=like.device)
    mask[order[: int(like.sum())]] = True
    return mask.view_as(like)


def share_of(part: torch.Tensor, total: torch.Tensor) -> float:
    """The ratio of two norms, from their squares; 0 where both are 0."""
    return float(part / total) ** 0.5 if float(total) > 0 else 0.0
