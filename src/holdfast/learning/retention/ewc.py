"""Elastic weight consolidation: a quadratic pull to earlier weights, as strong as they mattered.

Kirkpatrick et al. (arXiv 1612.00796), eq. 3; online, with one Fisher information for all earlier tasks, as in
Progress & Compress (Schwarz et al., arXiv 1805.06370), sec. 4:

    F ← γ F + E_x E_{y ~ π(. | x)} (∂ log π(y | x) / ∂θ)²        at the end of each stage
    gradient ← gradient + λ F (θ − θ*)                           θ*: the weights at the end of the last one

There the pull has γ F in place of F; here λ takes γ in. The Fisher information is that of single sampled
answers: squares of a batch's mean gradient would measure something else, and vanish.

As first published each task t has an anchor of its own: gradient ← gradient + λ Σ_t F_t (θ − θ*_t). That is
the online form with γ = 1 and θ* = Σ F_t θ*_t / Σ F_t, so it costs no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from holdfast.learning.retention import Memory
from holdfast.learning.retention.quadratic import MeasuredPull
from holdfast.learning.retention.vectors import flat_weights, inherited
from holdfast.learning.stage import Stage
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.gradients import fisher_diagonal

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


class OnlineEWC(MeasuredPull):
    measured = "fisher"

    kind: Literal["ewc"] = "ewc"

    def importance(self, policy: Policy, prompt: Prompts, answer: Completions) -> torch.Tensor:
        """(∂ log π(y | x) / ∂θ)² [N]."""
        return fisher_diagonal(policy, prompt, answer, temperature=1.0)


class SummedEWC(OnlineEWC):
    """EWC as first published: no earlier task fades, and each pulls to its own weights."""

    kind: Literal["ewc_sum"] = "ewc_sum"  # type: ignore[assignment]
    decay: float = Field(1.0, ge=1, le=1)

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up Σ F_t and the mean of the anchors."""
        memory |= inherited(stage, self.name, "fisher", "anchor")

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """Both, with this stage's task among them."""
        total, weights = super().end(stage, memory)["fisher"], flat_weights(stage.policy)
        if "fisher" in memory:
            weights += memory["fisher"] / total.clamp_min(1e-30) * (memory["anchor"] - weights)
        return {"fisher": total, "anchor": weights}
