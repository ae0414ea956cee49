"""Mastered prompts are kept mastered: an update may not move what it already answers right.

MCPO (arXiv 2604.16972). On prompts whose G answers are all right, which give a policy gradient nothing, with
d_t = log π(y_t) − log π_old(y_t) from the policy before the last update and k3(d) = e^d − d − 1:

    φ_t = 0 where |d_t| ≤ δ, else k3(d_t) − k3(±δ) of its side
    gradient ← gradient + β ∇ mean over answers of mean_t φ_t

Between the updates of one batch π_old is the policy that sampled it. Where a batch has one update (`updates:
1`), d_t would be 0 there, so the answers of the batch before are looked at: they show what the last update
did to them.

Besides, for pass rates ½ < p < 1 the advantages are divided by 2 √(p (1 − p)), so that what is almost
mastered weighs as much as what is half known (`level: false` leaves them).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.methods import RFT, Method
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.answers import answers_of, as_groups, gradient_of, keep_answers, taken
from holdfast.learning.retention.passes import logprobs_under
from holdfast.learning.retention.pool import not_graded
from holdfast.learning.retention.vectors import add_to_gradient
from holdfast.learning.stage import Stage
from holdfast.tasks.scoring import RIGHT


class MCPO(Strategy):
    rehearses = True  # other strategies may put old prompts into the batch
    copies = 1  # the gradient of the penalty

    kind: Literal["mcpo"] = "mcpo"
    delta: float = Field(0.01, ge=0)  # δ
    beta: float = Field(1.0, gt=0)  # β
    level: bool = True

    def unfit(self, method: Method) -> str | None:
        if reason := not_graded(method):
            return reason
        if self.level and not getattr(method, "normalise_std", False):
            return "levels advantages that are divided by their standard deviation; use grpo, or level: false"
        return None

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Keep the mastered answers with their log-probabilities, and level the advantages."""
        assert groups.scores_BG is not None, "RFT grades"
        right_BG = groups.scores_BG >= RIGHT
        mastered = right_BG.all(1).nonzero().flatten().tolist()
        keep_answers(memory, answers_of(memory, "now"), "before")
        keep_answers(memory, {}, "now")
        if mastered:
            some, members = groups.rows(mastered), range(right_BG.shape[1])
            chosen = [(row, member) for row in range(len(mastered)) for member in members]
            answers = taken(some.completions, some.items, chosen)
            # Under the policy as it is: those of sampling differ by more than δ in half precision.
            answers["logprobs"] = logprobs_under(stage.policy, stage, some).flatten(0, 1).cpu()
            keep_answers(memory, answers, "now")
        if self.level:
            rates_B1 = right_BG.float().mean(1, keepdim=True)
            spread_B1 = torch.where(
                (rates_B1 > 0.5) & (rates_B1 < 1), 2 * (rates_B1 * (1 - rates_B1)).sqrt(), 1.0
            )
            levelled_BG = groups.advantages_BG / spread_B1.to(groups.advantages_BG.device)
            groups = replace(groups, advantages_BG=levelled_BG)
        return groups.logged({"mcpo_mastered": len(mastered) / len(right_BG)})

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add that of the penalty; `mcpo_share` is its part of the whole."""
        method = stage.method
        assert isinstance(method, RFT), "RFT grades"
        answers = answers_of(memory, "now" if method.updates > 1 else "before")
        if not answers:
            return {}
        old_MR = answers["logprobs"].to(stage.policy.device)

        def loss(part: Groups, rows: range) -> torch.Tensor:
            now_BGR = stage.policy.group_logprobs(
                part.prompts, part.completions, method.sampling.temperature
            ).logprobs_BGR
            mask_MR = part.completions.mask_BGR[:, 0]
            difference_MR = (now_BGR[:, 0] - old_MR[rows.start : rows.stop, : mask_MR.shape[1]]) * mask_MR
            means_M = penalty(difference_MR, self.delta).sum(1) / mask_MR.sum(1).clamp_min(1)
            return self.beta * means_M.sum() / len(old_MR)

        return {
            "mcpo_share": add_to_gradient(stage.policy, gradient_of(stage, as_groups(stage, answers), loss))
        }


def penalty(difference: torch.Tensor, delta: float) -> torch.Tensor:
    """φ of log-ratios: nothing within ±δ, and from there on the excess of k3."""
    bounded = difference.clamp(max=20.0)  # e^d would overflow
    edge = torch.where(difference > 0, delta, -delta)
    return torch.where(difference.abs() <= delta, 0.0, k3_of(bounded) - k3_of(edge))


def k3_of(difference: torch.Tensor) -> torch.Tensor:
    return difference.exp() - difference - 1
