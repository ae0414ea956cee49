"""Merging of task vectors at each stage's end: MagMax, TIES and DARE.

A task vector is what a stage ends with less the base, τ_t = θ_t − θ_0. A stage's policy is θ_0 + λ m(τ_1 …
τ_t); m is the rule of each class.

What a stage begins with is part of the rule, and it is not the merged policy: MagMax's goes on from θ_{t−1}
as it was learned, TIES' and DARE's tasks all begin with θ_0. So the stage before leaves θ_{t−1} and the base
beside its merged policy, and `begin` puts one of them in place. A KL penalty to `stage_start` refers to the
merged one.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from holdfast.learning.methods import Method
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import flat_weights, inherited, set_weights, views
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_weights
from holdfast.policy.merging import drop, larger, trim


class TaskVectors(Strategy):
    """What the stages before left is added up, so that its size does not grow with them."""

    adapters = False  # a task vector is of whole weights: merged apart, A and B have another product
    sums: ClassVar[tuple[str, ...]]  # what is left besides θ_0 and θ_t

    scale: float = Field(1.0, gt=0)  # λ
    start: Literal["learned", "base"]  # which weights a stage begins with: θ_{t−1} or θ_0

    def add(self, stage: Stage, left: Memory, vector_N: torch.Tensor) -> Memory:
        """`sums` with one more task vector; `left` is empty for the first."""
        raise NotImplementedError

    def merged(self, sums: Memory) -> torch.Tensor:
        """m(τ_1 … τ_t) [N]."""
        raise NotImplementedError

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Begin as the rule says; the first stage, with the base."""
        found = inherited(stage, self.name, "base", "learned", *self.sums)
        if not found:
            memory["base"] = flat_weights(stage.policy)
            return
        set_weights(stage.policy, found[self.start])
        memory |= {key: found[key] for key in ("base", *self.sums)}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """Merge; what was learned goes on beside it."""
        learned = flat_weights(stage.policy)
        left = {key: memory[key] for key in self.sums if key in memory}
        sums = self.add(stage, left, learned - memory["base"])
        set_weights(stage.policy, memory["base"] + self.scale * self.merged(sums))
        return sums | {"base": memory["base"], "learned": learned}


class MagMax(TaskVectors):
    """MagMax (Marczak et al., arXiv 2407.06322): of each weight the task vector that is largest there."""

    copies = 4  # θ_0, the largest τ; at a stage's end, θ_t and τ_t
    sums = ("largest",)

    kind: Literal["magmax"] = "magmax"
    start: Literal["learned", "base"] = "learned"

    def add(self, stage: Stage, left: Memory, vector_N: torch.Tensor) -> Memory:
        """The largest so far."""
        return {"largest": larger(left["largest"], vector_N) if left else vector_N}

    def merged(self, sums: Memory) -> torch.Tensor:
        """It is the largest."""
        return sums["largest"]


class Ties(TaskVectors):
    """TIES (Yadav et al., arXiv 2306.01708): of each tensor of a task vector the largest entries are kept; of
    each weight the sign of their sum is elected, and the mean taken of those that have it.

    The authors' code trims the whole vector; here, as is usual where weights do not fit at once, each tensor.
    """

    copies = 7  # θ_0, four sums; at a stage's end, θ_t and τ_t
    sums = ("up", "down", "ups", "downs")  # what is above zero and below, and how many; of each weight

    kind: Literal["ties"] = "ties"
    start: Literal["learned", "base"] = "base"
    share: float = Field(0.2, gt=0, le=1)  # of each tensor that is kept

    def add(self, stage: Stage, left: Memory, vector_N: torch.Tensor) -> Memory:
        """Trim, and add to the sums of its sign."""
        parts = [trim(part, self.share).flatten() for _, part in views(stage.policy, vector_N)]
        kept = torch.cat(parts)
        one = {"up": kept.clamp_min(0), "down": kept.clamp_max(0), "ups": kept > 0, "downs": kept < 0}
        return {key: left[key] + part if left else part.float() for key, part in one.items()}

    def merged(self, sums: Memory) -> torch.Tensor:
        """The mean of those that agree with the sign of the sum."""
        up, down = (sums[side] / sums[f"{side}s"].clamp_min(1) for side in ("up", "down"))
        sign = (sums["up"] + sums["down"]).sign()
        return torch.where(sign > 0, up, down) * sign.abs()

    def results_version(self, method: Method) -> int:
        """A sum of 0 had the sign of minus."""
        return 2


class Dare(TaskVectors):
    """DARE (Yu et al., arXiv 2311.03099) with task arithmetic: of each task vector every weight is dropped
    with the chance p, the others divided by 1 − p, and the sum taken of what is left.
    """

    copies = 6  # θ_0, the sum; at a stage's end, θ_t, τ_t, what is left of it, the sum with it
    sums = ("sum",)

    kind: Literal["dare"] = "dare"
    start: Literal["learned", "base"] = "base"
    share: float = Field(0.1, gt=0, le=1)  # 1 − p of each tensor, that is kept

    def add(self, stage: Stage, left: Memory, vector_N: torch.Tensor) -> Memory:
        """Drop and rescale, and add to the sum."""
        parts = zip(trained_weights(stage.policy.model), views(stage.policy, vector_N), strict=True)
        kept = [drop(part, self.share, *stage.stream, name).flatten() for name, (_, part) in parts]
        return {"sum": left["sum"] + torch.cat(kept) if left else torch.cat(kept)}

    def merged(self, sums: Memory) -> torch.Tensor:
        """The sum."""
        return sums["sum"]
