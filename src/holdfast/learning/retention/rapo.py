"""A reward for staying near the policy that ended the last stage, and one scale of advantages for all tasks.

RaPO (arXiv 2605.09640). From the second task on, with the policy π_prev of the stage's start, for each
answer:

    d = max(mean_t (log π(y_t) − log π_prev(y_t)), 0),    R = R_task + λ exp(−α d)
    A = (R − group mean) / (σ + ε)

σ is a moving average, kept across tasks, of the standard deviation of all rewards of a batch: the first
batch's at first, then with weight .9 once and .999 from there (our reading of the released code's warm-up),
at least .001; a group in which an |A| is above 5 takes its own. A penalty to the base of .002 goes with it
there: `kl_coef`, `kl_reference: base`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.advantages import EPSILON, group_relative
from holdfast.learning.groups import Groups
from holdfast.learning.methods import GRPO, Method
from holdfast.learning.retention import Continuing, Memory
from holdfast.learning.retention.passes import logprobs_under, own_logprobs
from holdfast.learning.retention.pool import count
from holdfast.learning.stage import Stage

LEAST, MOST = 1e-3, 5.0  # of σ; of |A|


class RaPO(Continuing):
    kind: Literal["rapo"] = "rapo"
    alpha: float = Field(20.0, gt=0)  # α
    weight: float = Field(0.5, gt=0)  # λ
    decay: float = Field(0.999, ge=0, lt=1)  # of σ

    @property
    def looks_at(self) -> Literal["base", "stage_start"]:
        return "stage_start"

    def passes(self, method: Method) -> float:
        """That of the policy before."""
        return 1

    def unfit(self, method: Method) -> str | None:
        if isinstance(method, GRPO) and not method.positives_only:
            return None
        return "makes advantages of its own in place of GRPO's; use objective: grpo without positives_only"

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Go on with σ, and from the second task on keep the policy as it is."""
        super().begin(stage, memory)
        if self.name in stage.inherited:
            stage.past("stage_start")

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Add the reward, and weigh all anew; `rapo_share` is the part of it in the mean reward."""
        assert groups.rewards_BG is not None, "GRPO rewards"
        kept_BG = torch.zeros_like(groups.rewards_BG)
        if self.name in stage.inherited:
            kept_BG = self.weight * (-self.alpha * self.drift(stage, groups)).exp().to(kept_BG)
        rewards_BG = groups.rewards_BG + kept_BG
        share = float(kept_BG.mean() / rewards_BG.mean().clamp_min(EPSILON))
        weighed = replace(groups, advantages_BG=self.advantages(memory, rewards_BG))
        return weighed.logged({"rapo_share": share})

    def drift(self, stage: Stage, groups: Groups) -> torch.Tensor:
        """d of each completion [B, G]."""
        completions = groups.completions
        then_BGR = logprobs_under(stage.past("stage_start"), stage, groups)
        difference_BGR = (own_logprobs(stage, groups) - then_BGR) * completions.mask_BGR
        return (difference_BGR.sum(-1) / completions.lengths_BG.clamp_min(1)).clamp_min(0)

    def advantages(self, memory: Memory, rewards_BG: torch.Tensor) -> torch.Tensor:
        """By the batches so far, this one included."""
        now, updates = rewards_BG.std().cpu(), count(memory, "updates")
        decay = (0.0, min(0.9, self.decay), self.decay)[min(updates, 2)]
        scale = decay * memory["std"].cpu() + (1 - decay) * now if updates else now
        memory["std"] = scale.clamp_min(LEAST)
        advantages_BG = group_relative(rewards_BG, normalise_std=False) / (memory["std"] + EPSILON)
        is_far_B1 = (advantages_BG.abs() > MOST).any(1, keepdim=True)
        return torch.where(is_far_B1, group_relative(rewards_BG), advantages_BG)
