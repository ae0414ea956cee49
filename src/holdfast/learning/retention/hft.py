"""Half fine-tuning: in each stage a random half of the tensors is frozen, another half each time.

HFT (Hui et al., arXiv 2404.18466). The paper draws half of each block's matrices; here half of all trained
tensors. Frozen ones get no gradient, so neither AdamW nor its decay moves them, and no moments are kept of
them. It is a random choice already, and so its own control.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import share_of
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_parameters
from holdfast.rng import stream as named_stream


class HalfFineTuning(Strategy):
    kind: Literal["hft"] = "hft"
    share: float = Field(0.5, gt=0, lt=1)  # of the tensors that are frozen

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Draw the tensors."""
        count = len(trained_parameters(stage.policy))
        frozen = torch.zeros(count, dtype=torch.bool)
        frozen[named_stream(*stage.stream, "hft").sample(range(count), round(self.share * count))] = True
        memory["frozen"] = frozen

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Take away the gradients of the frozen half; the share of the gradient's norm is logged."""
        total = taken = torch.zeros((), device=stage.policy.device)
        for parameter, frozen in zip(
            trained_parameters(stage.policy), memory["frozen"].tolist(), strict=True
        ):
            if parameter.grad is None:
                continue
            square = parameter.grad.float().square().sum()
            total = total + square
            if frozen:
                taken, parameter.grad = taken + square, None
        return {"hft_share": share_of(taken, total)}
