"""Advantage estimators: from the rewards of a group to how much each completion is pushed.

Each takes `rewards_BG` (B prompts, G completions) and gives `advantages_BG`.
"""

from __future__ import annotations

import torch

EPSILON = 1e-6


def zero_variance(rewards_BG: torch.Tensor) -> torch.Tensor:
    """Which groups got one and the same reward, exactly; bool (B,)."""
    return (rewards_BG == rewards_BG[:, :1]).all(dim=1)


def grpo(rewards_BG: torch.Tensor, normalise_std: bool = True) -> torch.Tensor:
    """Reward minus the group's mean, over the group's standard deviation.

    DeepSeekMath (arXiv 2402.03300), eq. 3 with outcome rewards. A group of equal rewards gets
    exactly zero, whatever the rounding of its mean.
    """
    advantages = rewards_BG - rewards_BG.mean(dim=1, keepdim=True)
    if normalise_std:
        advantages = advantages / (rewards_BG.std(dim=1, keepdim=True) + EPSILON)
    return advantages.masked_fill(zero_variance(rewards_BG).unsqueeze(1), 0.0)


def rloo(rewards_BG: torch.Tensor) -> torch.Tensor:
    """Reward minus the mean reward of the *other* completions (leave one out).

    Ahmadian et al. (arXiv 2402.14740), sec. 2.2.
    """
    group_size = rewards_BG.shape[1]
    others = (rewards_BG.sum(dim=1, keepdim=True) - rewards_BG) / (group_size - 1)
    return (rewards_BG - others).masked_fill(zero_variance(rewards_BG).unsqueeze(1), 0.0)


def remax(rewards_BG: torch.Tensor, greedy_reward_B: torch.Tensor) -> torch.Tensor:
    """Reward minus the reward of the greedy completion. Li et al. (arXiv 2310.10505), alg. 2."""
    return rewards_BG - greedy_reward_B.unsqueeze(1)


def reinforce(rewards_BG: torch.Tensor) -> torch.Tensor:
    """The reward itself, without a baseline (Williams, 1992)."""
    return rewards_BG.clone()
