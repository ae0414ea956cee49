"""Vectors over the trained weights, and terms that are added to a step's gradient.

A vector has all trained weights one after another, [N], in at least float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from holdfast.policy.gradients import trained_parameters

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


def flat_weights(policy: Policy) -> torch.Tensor:
    """The trained weights [N], a copy."""
    return torch.cat([one.detach().flatten().float() for one in trained_parameters(policy)])


def flat_gradient(policy: Policy) -> torch.Tensor:
    """The gradient of the step [N], a copy; 0 where a parameter has none."""
    return torch.cat(
        [
            (torch.zeros_like(one) if one.grad is None else one.grad).detach().flatten().float()
            for one in trained_parameters(policy)
        ]
    )


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
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad += part.to(parameter.grad.dtype)
        total += parameter.grad.float().square().sum()
    return float(term_N.norm() / total.sqrt().clamp_min(1e-30))
