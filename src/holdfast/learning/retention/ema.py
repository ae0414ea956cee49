"""The average of the weights over a stage takes the place of the last ones.

After each step θ̄ ← β θ̄ + (1 − β) θ, from the weights the stage began with; at its end θ ← θ̄ (Polyak &
Juditsky, 1992, with a memory that fades). Of n steps the beginning keeps the weight βⁿ: with 40 steps β 0.99
is close to WiSE-FT, and β 0.999 learns next to nothing.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import exact_weights, flat_weights, set_weights
from holdfast.learning.stage import Stage


class EMA(Strategy):
    copies = 2  # θ̄, θ

    kind: Literal["ema"] = "ema"
    beta: float = Field(0.99, gt=0, lt=1)  # β

    def begin(self, stage: Stage, memory: Memory) -> None:
        """θ̄ begins with the stage."""
        memory["average"] = flat_weights(stage.policy)

    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Follow the weights."""
        memory["average"].lerp_(exact_weights(stage.policy, optimizer), 1 - self.beta)
        return {}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """The average becomes the policy."""
        set_weights(stage.policy, memory["average"])
        return {}
