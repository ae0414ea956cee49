"""WiSE-FT at each stage's end: between the weights it began with and those it learned.

Wortsman et al. (arXiv 2109.01903): θ ← (1 − α) θ_prev + α θ, before the policy is saved, so that the next
stage begins with it.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import flat_weights, set_weights
from holdfast.learning.stage import Stage


class WiSE(Strategy):
    copies = 3  # θ_prev; at a stage's end, θ and what is between

    kind: Literal["wise"] = "wise"
    alpha: float = Field(0.5, gt=0, lt=1)  # α: the share of what was learned

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Note θ_prev."""
        memory["start"] = flat_weights(stage.policy)

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """Go back part of the way."""
        set_weights(stage.policy, torch.lerp(memory["start"], flat_weights(stage.policy), self.alpha))
        return {}
