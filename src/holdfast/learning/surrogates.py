"""Surrogates of the policy gradient: what each token of a completion counts, to be made larger.

With samples of the policy itself (one update) all ratios are 1, and no clip does anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from holdfast.policy.batch import Completions

Surrogate = tuple[torch.Tensor, torch.Tensor]  # [B, G, R], and which tokens are clipped


@dataclass(frozen=True)
class Sampled:
    """Completions under two policies.

    Attributes:
        logprobs_BGR: under the one that learns, with their gradient.
        old_BGR: under the one that sampled.
        advantages_BG1: of the completions.
        mask_BGR: their tokens, 1 or 0.
    """

    logprobs_BGR: torch.Tensor
    old_BGR: torch.Tensor
    advantages_BG1: torch.Tensor
    mask_BGR: torch.Tensor

    @property
    def log_ratio_BGR(self) -> torch.Tensor:
        return (self.logprobs_BGR - self.old_BGR) * self.mask_BGR


def clipped_ratio(sampled: Sampled, low: float, high: float, dual: float | None = None) -> Surrogate:
    """PPO's (Schulman et al., arXiv 1707.06347, eq. 7), with bounds of their own for either side.

    Args:
        dual: a token whose advantage A is below 0 costs no more than -dual A (arXiv 1912.09729, eq. 5).
    """
    advantages = sampled.advantages_BG1
    surrogate, clipped = _pessimistic(sampled.log_ratio_BGR.exp(), advantages, low, high)
    if dual is not None:
        surrogate = torch.where(advantages < 0, torch.maximum(surrogate, dual * advantages), surrogate)
    return surrogate, clipped


def clipped_sequence_ratio(sampled: Sampled, low: float, high: float) -> Surrogate:
    """GSPO's (Zheng et al., arXiv 2507.18071, eq. 5 to 7): one ratio a completion, the geometric mean of
    its tokens'; each token counts as its completion does."""
    lengths_BG1 = sampled.mask_BGR.sum(-1, keepdim=True).clamp_min(1)
    ratio_BG1 = (sampled.log_ratio_BGR.sum(-1, keepdim=True) / lengths_BG1).exp()
    surrogate, clipped = _pessimistic(ratio_BG1, sampled.advantages_BG1, low, high)
    return surrogate.expand_as(sampled.mask_BGR), clipped.expand_as(sampled.mask_BGR)


def clipped_weight(sampled: Sampled, low: float, high: float) -> Surrogate:
    """CISPO's (MiniMax-M1, arXiv 2506.13585, eq. 4 and 5): the ratio is a bounded weight without a gradient
    of its own, so that no token falls silent."""
    ratio = sampled.log_ratio_BGR.detach().exp()
    weight = ratio.clamp(1 - low, 1 + high)
    return weight * sampled.advantages_BG1 * sampled.logprobs_BGR, weight != ratio


def truncated_ratio(old_BGR: torch.Tensor, drawn: Completions, most: float) -> torch.Tensor:
    """How often each token counts that another engine drew: min(most, policy / engine), of the probabilities
    they give it; 1 outside the mask. Truncated importance sampling (Ionides, J. Comput. Graph. Stat. 17(2),
    2008) of each token by itself: those before it are left uncorrected, so that the variance is bounded.

    Args:
        old_BGR: log-probabilities under the policy before its step.
        drawn: completions with the log-probabilities that the engine drew them with.
    """
    assert drawn.logprobs_BGR is not None, "an engine tells them"
    difference_BGR = (old_BGR - drawn.logprobs_BGR).masked_fill(~drawn.mask_BGR, 0.0)
    return difference_BGR.exp().clamp(max=most)


def _pessimistic(ratio: torch.Tensor, advantages: torch.Tensor, low: float, high: float) -> Surrogate:
    """The smaller of the surrogate and the one with its ratio bounded."""
    bounded = ratio.clamp(1 - low, 1 + high)
    return torch.minimum(ratio * advantages, bounded * advantages), bounded * advantages < ratio * advantages
