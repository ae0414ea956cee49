"""Sharpness-aware minimisation: the gradient beside the weights, by hand and taken plainly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from holdfast.learning.groups import Groups
from holdfast.learning.methods import make_method
from holdfast.learning.objectives import LossSums, Objective
from holdfast.learning.stage import Stage
from holdfast.learning.surrogates import Sampled
from holdfast.policy.gradients import trained_parameters
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from test_learning import grpo, items_of, sft, stage_of, weights

RADIUS = 0.5
SAM = {"kind": "sam", "radius": RADIUS}


class Bowl(Objective):
    """½ · 3 · θ² of one weight and ½ θ² of another, for each token."""

    def collect(self, *_: Any) -> Groups:
        raise NotImplementedError

    def loss(self, policy: Policy, groups: Groups) -> LossSums:
        steep, flat = two_weights(policy)
        tokens = groups.completions.mask_BGR.sum()
        return LossSums(tokens * (1.5 * steep[0].square() + 0.5 * flat[0].square()), 0.0)


def two_weights(policy: Policy) -> list[torch.Tensor]:
    return [parameter.view(-1) for parameter in trained_parameters(policy)[:2]]


def begun(method: Any) -> tuple[Stage, Groups]:
    """A stage with what its first step learns from."""
    stage = stage_of(Policy.load("embedded", ModelSettings()), method, items_of("counting", 4), 1)
    stage = replace(stage, objective=method.make(stage))
    assert stage.objective is not None
    return stage, stage.objective.collect(stage.policy, stage.items, ("step",))


def gradient(stage: Stage, groups: Groups) -> torch.Tensor:
    """As the loop takes it; it stays with the parameters."""
    assert stage.objective is not None
    stage.policy.model.zero_grad(set_to_none=True)
    groups = replace(groups, prefill=None)
    tokens = groups.completions.mask_BGR.sum()
    (stage.objective.loss(stage.policy, groups).loss / tokens).backward()
    return held(stage.policy)


def held(policy: Policy) -> torch.Tensor:
    parameters = trained_parameters(policy)
    return torch.cat(
        [torch.zeros_like(p).view(-1) if p.grad is None else p.grad.view(-1) for p in parameters]
    )


def move(policy: Policy, by: torch.Tensor) -> None:
    parameters = trained_parameters(policy)
    with torch.no_grad():
        for parameter, part in zip(parameters, by.split([p.numel() for p in parameters]), strict=True):
            parameter += part.view_as(parameter)


def test_a_bowl_by_hand() -> None:
    """At (0.2, 0.8) g is (0.6, 0.8) and of length 1; so it is taken at (0.5, 1.2)."""
    stage, groups = begun(sft(retention=SAM))
    stage = replace(stage, objective=Bowl())
    with torch.no_grad():
        for weight, value in zip(two_weights(stage.policy), (0.2, 0.8), strict=True):
            weight[0] = value
    assert gradient(stage, groups).norm().item() == pytest.approx(1.0)
    before = weights(stage.policy)
    said = stage.method.retention[0].gradient(stage, {}, groups)
    found = [parameter.grad.view(-1)[0].item() for parameter in trained_parameters(stage.policy)[:2]]  # type: ignore[union-attr]
    assert found == pytest.approx([1.5, 1.2])
    assert said == {"sam_share": pytest.approx((0.9**2 + 0.4**2) ** 0.5 / (1.5**2 + 1.2**2) ** 0.5)}
    assert all(torch.equal(before[name], weight) for name, weight in weights(stage.policy).items())


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [None, 1])
@pytest.mark.parametrize("make", [sft, grpo])
def test_it_is_the_gradient_beside_the_weights(make: Any, micro_batch: int | None) -> None:
    """RFT's with the ratio to the policy that sampled; in parts as in one."""
    stage, groups = begun(make(retention=SAM, micro_batch=micro_batch))
    here = gradient(stage, groups)
    stage.method.retention[0].gradient(stage, {}, groups)
    found = held(stage.policy)

    other, _ = begun(make())
    move(other.policy, RADIUS * here / here.norm())
    if make is grpo:
        expected = plain_surrogate(other.policy, groups)
    else:
        expected = gradient(other, groups)
    assert float((found - expected).norm() / expected.norm()) < 1e-4
    assert float((found - here).norm() / here.norm()) > 0.05  # else this would not tell


def plain_surrogate(policy: Policy, groups: Groups) -> torch.Tensor:
    """−Σ A π / π_sampled over the tokens, with the clipping of GRPO."""
    mask, then = groups.completions.mask_BGR, groups.completions.logprobs_BGR
    assert then is not None
    now = policy.group_logprobs(groups.prompts, groups.completions, 1.0).logprobs_BGR
    pushed, _ = grpo().surrogate(Sampled(now, then, groups.advantages_BG[..., None], mask.to(now.dtype)))
    policy.model.zero_grad(set_to_none=True)
    (-(pushed * mask).sum() / mask.sum()).backward()
    return held(policy)


def test_nothing_to_learn_is_left_alone() -> None:
    """Where all answers of all groups earn alike, no pass is made."""
    stage, groups = begun(grpo(retention=SAM))
    groups = replace(groups, advantages_BG=torch.zeros_like(groups.advantages_BG))
    gradient(stage, groups)
    spent = dict(stage.spent)
    assert stage.method.retention[0].gradient(stage, {}, groups) == {"sam_share": 0.0}
    assert dict(stage.spent) == spent


def test_it_stands_first() -> None:
    """What others add to the gradient would be lost with it."""
    ways = {"objective": "sft", "learning_rate": 1e-4}
    l2 = {"kind": "l2", "strength": 0.1}
    make_method(**ways, retention=[SAM, l2])
    with pytest.raises(ValidationError, match="sam takes the gradient anew; list it first"):
        make_method(**ways, retention=[l2, SAM])
