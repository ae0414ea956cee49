"""What tests of strategies by replay and in function space share."""

from __future__ import annotations

from typing import Any

import torch

from holdfast.learning.groups import Groups
from holdfast.learning.retention import strategy_class
from holdfast.policy.gradients import trained_parameters
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from test_learning import items_of

NEW, OLD = items_of("photos", 16), {"reading": items_of("reading", 8), "counting": items_of("counting", 8)}


def made(kind: str, **settings: Any) -> Any:
    return strategy_class(kind).model_validate({"kind": kind} | settings)


def loaded() -> Policy:
    return Policy.load("embedded", ModelSettings())


def nudge(policy: Policy, size: float = 0.02) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one in policy.model.parameters():
            one += size * one.abs().mean() * torch.randn(one.shape, generator=generator)


def gradient(policy: Policy) -> torch.Tensor:
    return torch.cat([one.grad.flatten() for one in trained_parameters(policy)])  # type: ignore[union-attr]


def logprobs(policy: Policy, groups: Groups) -> torch.Tensor:
    return policy.group_logprobs(groups.prompts, groups.completions).logprobs_BGR
