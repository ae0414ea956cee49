"""Advantages of groups of rewards, `rewards_BG` (B prompts, G completions) to `advantages_BG`."""

from __future__ import annotations

import torch

EPSILON = 1e-6


def zero_variance(rewards_BG: torch.Tensor) -> torch.Tensor:
    """Which groups got one and the same reward, exactly; bool (B,)."""
    return (rewards_BG == rewards_BG[:, :1]).all(dim=1)


def group_relative(rewards_BG: torch.Tensor, normalise_std: bool = True) -> torch.Tensor:
    """Reward minus the group's mean, over the group's standard deviation.

    DeepSeekMath (arXiv 2402.03300), eq. 3 with outcome rewards; the deviation is that of a sample (over G −
    1), as in the study's code. A group of equal rewards gets exactly zero, whatever the rounding of its
    mean.
    """
    advantages = rewards_BG - rewards_BG.mean(dim=1, keepdim=True)
    if normalise_std:
        advantages = advantages / (rewards_BG.std(dim=1, keepdim=True) + EPSILON)
    return advantages.masked_fill(zero_variance(rewards_BG).unsqueeze(1), 0.0)


def leave_one_out(rewards_BG: torch.Tensor) -> torch.Tensor:
    """Reward minus the mean reward of the *other* completions.

    Ahmadian et al. (arXiv 2402.14740), sec. 2.2.
    """
    group_size = rewards_BG.shape[1]
    others = (rewards_BG.sum(dim=1, keepdim=True) - rewards_BG) / (group_size - 1)
    return (rewards_BG - others).masked_fill(zero_variance(rewards_BG).unsqueeze(1), 0.0)
