"""KL on old prompts: they are answered by the policy that learns, and held to that of the stage's start.

The "KL" arm of Continual Reasoning Gym (arXiv 2608.18574). A share of each update are prompts of earlier
tasks:

    old prompts:  advantages 0, and a penalty of β · k3(π ‖ π_prev), the mean over their tokens
    new prompts:  as they are, without a penalty

`reward: true` keeps the advantages of old prompts, too, which makes it replay with a penalty. A `loss_mean`
other than `tokens` weighs the tokens of the penalty, too: under `constant` β counts by the share of
`max_tokens` that answers fill.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field

from holdfast.generate.rollouts import Item
from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.policygradient import k3, pushed
from holdfast.learning.retention import Memory
from holdfast.learning.retention.passes import logprobs_under, own_logprobs
from holdfast.learning.retention.places import TakesPlaces
from holdfast.learning.retention.pool import mixed, not_graded, old_rows, old_share, spread
from holdfast.learning.stage import Stage
from holdfast.rng import stream as named_stream


class AskedAgain(TakesPlaces):
    """Asks old prompts again; a teacher, the policy at the stage's start, judges the answers."""

    share: float = Field(0.25, gt=0, lt=1)  # of a batch, of all earlier tasks alike

    @property
    def looks_at(self) -> Literal["base", "stage_start"]:
        return "stage_start"

    def passes(self, method: Method) -> float:
        """The teacher's, over old prompts."""
        return self.share

    def unfit(self, method: Method) -> str | None:
        return not_graded(method) or super().unfit(method)

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Keep the policy as it is, where there is something to ask it."""
        if stage.earlier:
            stage.past("stage_start")

    def batch(self, stage: Stage, memory: Memory, items: list[Item], iteration: int) -> list[Item]:
        """The first new prompts, and old ones evenly between them."""
        if not stage.earlier:
            return items
        draw = named_stream(*stage.stream, self.name, iteration)
        old = spread(list(stage.earlier.values()), self.places(len(items)), draw)
        return mixed(items[: len(items) - len(old)], old)

    def logprobs(self, stage: Stage, groups: Groups, rows: list[int]) -> torch.Tensor:
        """Of the teacher, at these rows; elsewhere of the policy as it sampled. [B, G, R]"""
        result_BGR = own_logprobs(stage, groups).clone()
        teacher_BGR = logprobs_under(stage.past("stage_start"), stage, groups.rows(rows))
        result_BGR[torch.tensor(rows, device=result_BGR.device)] = teacher_BGR
        return result_BGR


class KLOnOldPrompts(AskedAgain):
    kind: Literal["kl_old"] = "kl_old"
    coef: float = Field(0.1, gt=0)  # β
    reward: bool = False  # old prompts are rewarded, too

    def unfit(self, method: Method) -> str | None:
        if getattr(method, "kl_coef", 0):
            return "has a reference of its own; leave kl_coef out"
        return super().unfit(method)

    def results_version(self, method: Method) -> int:
        """Prompts that leave the step were counted among its tokens."""
        return 2 if _drops(method) else 1

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Give old prompts the penalty, and take their advantages; `kl_old` is its mean in nats."""
        rows = old_rows(stage, groups)
        if not rows:
            return groups
        kl_B, advantages_BG = torch.zeros(len(groups.prompts)), groups.advantages_BG.clone()
        kl_B[rows] = self.coef
        if not self.reward:
            advantages_BG[rows] = 0
        reference_BGR = self.logprobs(stage, groups, rows)
        mask_BGR = groups.completions.mask_BGR
        divergence = k3(reference_BGR, own_logprobs(stage, groups), mask_BGR).sum() / mask_BGR[rows].sum()
        found = replace(groups, advantages_BG=advantages_BG, reference_BGR=reference_BGR, kl_B=kl_B)
        # A step divides by all tokens of what stays in it, of which these are a part.
        stays = pushed(found) if _drops(stage.method) else slice(None)
        kl_B[rows] = self.coef * float(mask_BGR[stays].sum() / mask_BGR[rows].sum().clamp_min(1))
        return found.logged({f"{self.name}_share": old_share(stage, groups), "kl_old": float(divergence)})


def _drops(method: Method) -> bool:
    return bool(getattr(method, "drop_zero_variance", False))
