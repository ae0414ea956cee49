"""Matrices that move within a subspace: what OSFT and KeepLoRA share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from holdfast.learning.bfloat16 import put, whole
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.terms import share_of
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_matrices

if TYPE_CHECKING:
    from holdfast.learning.groups import Groups


class Subspace(Strategy):
    """Matrices' gradients are projected, and after each step what they learned: AdamW leaves the subspace."""

    adapters = False

    def projected(
        self, memory: Mapping[str, torch.Tensor], name: str, change_OI: torch.Tensor
    ) -> torch.Tensor:
        """The part of a change of a matrix that may be made, [O, I]."""
        raise NotImplementedError

    def remember(self, stage: Stage, memory: Memory) -> None:
        """To be called by `begin`: changes are counted from the weights as they are now."""
        for name, weight in trained_matrices(stage.policy.model).items():
            memory[f"{name}/start"] = weight.detach().float().clone()

    @torch.no_grad()
    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Project the matrices' gradients; the share of their norm that this takes away is logged."""
        total = taken = torch.zeros((), device=stage.policy.device)
        for name, weight in trained_matrices(stage.policy.model).items():
            if weight.grad is None:
                continue
            before = weight.grad.float()
            after = self.projected(memory, name, before)
            total, taken = total + before.square().sum(), taken + (before - after).square().sum()
            weight.grad.copy_(after)
        return {f"{self.name}_share": share_of(taken, total)}

    @torch.no_grad()
    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Project what the matrices have learned in this stage."""
        for name, weight in trained_matrices(stage.policy.model).items():
            state, start = optimizer.state.get(weight, {}), memory[f"{name}/start"]
            put(weight, state, start + self.projected(memory, name, whole(weight, state) - start))
        return {}
