"""LiNeS at each stage's end: the less of what was learned, the nearer a layer is to the input.

Wang et al. (arXiv 2410.17146): θ ← θ_prev + λ (θ − θ_prev), with λ growing from α in the first layer to 1 in
the last (`policy.merging.by_depth`), before the policy is saved, so that the next stage begins with it. In
the paper θ_prev is the pre-trained model, and nothing is learned after it.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import flat_weights, views
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_weights
from holdfast.policy.merging import by_depth


class LiNeS(Strategy):
    copies = 1  # θ_prev
    adapters = False  # a part of B and A each would be another part of their product

    kind: Literal["lines"] = "lines"
    shallow: float = Field(0.5, ge=0, lt=1)  # α: the share of what the first layers learned

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Note θ_prev."""
        memory["start"] = flat_weights(stage.policy)

    @torch.no_grad()
    def end(self, stage: Stage, memory: Memory) -> Memory:
        """Go back, in each layer another part of the way."""
        model = stage.policy.model
        kept = by_depth([name for name, _ in model.named_parameters()], self.shallow)
        names = trained_weights(model)
        for name, (parameter, start) in zip(names, views(stage.policy, memory["start"]), strict=True):
            parameter.copy_(start.lerp(parameter.to(start.dtype), kept[name]))
        return {}
