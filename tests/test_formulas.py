"""Rules against other code of the same formulas: written out word by word from the papers, or by others."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from holdfast.learning.methods import make_method
from holdfast.learning.muon import Muon
from holdfast.learning.policygradient import PolicyGradient
from holdfast.policy import merging
from replay_helpers import made
from test_learning import Scripted, scripted_groups

LONGEST = 9  # max_tokens


def advantage(objective: str, rewards: torch.Tensor, member: int, greedy: torch.Tensor) -> torch.Tensor:
    others = [reward for place, reward in enumerate(rewards) if place != member]
    match objective:
        case "rloo":
            return rewards[member] - sum(others) / len(others)
        case "remax":
            return rewards[member] - greedy
        case "reinforce":
            return rewards[member]
        case "dr_grpo":
            return rewards[member] - rewards.mean()
        case _:
            return (rewards[member] - rewards.mean()) / (rewards.std() + 1e-6)


def counted(
    method: Any, now: torch.Tensor, old: torch.Tensor, reference: torch.Tensor, push: torch.Tensor
) -> torch.Tensor:
    """What the T tokens of one completion count together, the penalty included; to be made larger."""
    low, high, total = 1 - method.clip_low, 1 + method.clip_high, torch.zeros((), dtype=torch.float64)
    of_all = ((now - old).sum() / len(now)).exp()
    for token in range(len(now)):
        ratio = of_all if method.objective == "gspo" else (now[token] - old[token]).exp()
        if method.objective == "cispo":
            part = ratio.detach().clamp(low, high) * push * now[token]
        else:
            part = torch.minimum(ratio * push, ratio.clamp(low, high) * push)
        if method.dual_clip and push < 0:
            part = torch.maximum(part, method.dual_clip * push)
        apart = reference[token] - now[token]
        total = total + part - method.kl_coef * (apart.exp() - apart - 1)
    return total


def mean_loss(loss_mean: str | int, sums: list[torch.Tensor], lengths: list[int]) -> torch.Tensor:
    match loss_mean:
        case "tokens":
            return -sum(sums) / sum(lengths)  # type: ignore[return-value]
        case "constant":
            return -sum(sums) / (len(sums) * LONGEST)  # type: ignore[return-value]
        case _:
            size = 1 if loss_mean == "sequences" else int(loss_mean)
            starts = range(0, len(sums), size)
            means = [sum(sums[at : at + size]) / sum(lengths[at : at + size]) for at in starts]
            return -sum(means) / len(means)  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective", ["grpo", "dapo", "dr_grpo", "gspo", "cispo", "rloo", "remax", "reinforce"]
)
@pytest.mark.parametrize("loss_mean", ["tokens", "sequences", "constant", 5])
def test_the_loss_of_a_step_and_its_gradient_are_those_of_the_papers(
    objective: str, loss_mean: str | int
) -> None:
    """Off-policy, with a penalty, and with the bound on what a bad completion costs where there is one."""
    draw, (prompts, group, longest) = torch.Generator().manual_seed(len(objective)), (3, 4, 5)
    bound = {} if objective in ("gspo", "cispo") else {"dual_clip": 1.5}
    method: Any = make_method(
        objective=objective, learning_rate=1e-3, batch=4, group_size=group, kl_coef=0.3,
        loss_mean=loss_mean, sampling={"max_tokens": LONGEST}, **bound,
    )  # fmt: skip
    now, *moved = (torch.randn(prompts, group, longest, generator=draw).double() for _ in range(3))
    old, reference = (now + 0.5 * one for one in moved)  # no token's k3 is clamped
    lengths_BG = torch.randint(1, longest + 1, (prompts, group), generator=draw)
    rewards_BG, greedy_B = (torch.rand(size, generator=draw) for size in ((prompts, group), prompts))

    mask_BGR = torch.arange(longest) < lengths_BG[..., None]
    groups = scripted_groups(mask_BGR.tolist(), method.advantages(rewards_BG, greedy_B).tolist())
    groups = replace(groups, old_logprobs_BGR=old, reference_BGR=reference)
    policy: Any = Scripted([])
    policy.logprobs = now.clone().requires_grad_()
    learned = PolicyGradient(method, {}, None)
    loss = learned.loss(policy, learned.weighed(groups)).loss / mask_BGR.sum()
    loss.backward()

    now.requires_grad_()
    sums, lengths = [], []
    for prompt in range(prompts):
        for member in range(group):
            said = int(lengths_BG[prompt, member])
            push = advantage(objective, rewards_BG[prompt].double(), member, greedy_B[prompt].double())
            three = (one[prompt, member, :said] for one in (now, old, reference))
            sums.append(counted(method, *three, push))
            lengths.append(said)
    expected = mean_loss(loss_mean, sums, lengths)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(policy.logprobs.grad, now.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (4, 12), (12, 4)])
def test_muon_steps_as_torchs_own(shape: tuple[int, int]) -> None:
    """That iterates in bfloat16, so the two part by a hundredth of the way."""
    draw = torch.Generator().manual_seed(0)
    ours = nn.Parameter(torch.randn(shape, generator=draw))
    theirs, start = nn.Parameter(ours.detach().clone()), ours.detach().clone()
    mine = Muon([{"params": [ours], "weight_decay": 0.1}], [ours], 0.02, (0.9, 0.999))
    other = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(shape, generator=draw)
        theirs.grad = ours.grad.clone()
        mine.step()
        other.step()
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


def test_ties_is_pefts() -> None:
    """In one pass over all task vectors, and stage by stage as the strategy adds them up."""
    utilities = pytest.importorskip("peft.utils.merge_utils")
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6, bias=False), nn.Linear(6, 3, bias=False))
    stage: Any = SimpleNamespace(policy=SimpleNamespace(model=model))
    vectors, sizes = [torch.randn(48, generator=draw) for _ in range(4)], (30, 18)
    parts = zip(*(vector.split(sizes) for vector in vectors), strict=True)  # tensor by tensor
    expected = [utilities.ties(list(part), torch.ones(4), 0.3) for part in parts]
    strategy: Any = made("ties", share=0.3)
    sums: dict[str, torch.Tensor] = {}
    for vector in vectors:
        sums = strategy.add(stage, sums, vector)
    torch.testing.assert_close(strategy.merged(sums), torch.cat(expected))
    found = merging.ties([vector[:30] for vector in vectors], 0.3)
    torch.testing.assert_close(found, expected[0])
