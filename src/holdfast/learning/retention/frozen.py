"""Some weights stay, to the bit, as the stage found them: what SSU and O-LoRA share."""

from __future__ import annotations

import torch

from holdfast.learning.bfloat16 import put, whole
from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import flat_weights, share_of, views
from holdfast.learning.stage import Stage


class Frozen(Strategy):
    """Frozen weights get no gradient, and after a step the values they began with: AdamW decays, too."""

    copies = 1.25  # θ*, a mask

    def freeze(self, stage: Stage, memory: Memory, frozen_N: torch.Tensor) -> None:
        """To be called by `begin`.

        Args:
            frozen_N: which weights, a mask.
        """
        memory |= {"frozen": frozen_N, "start": flat_weights(stage.policy)}

    @torch.no_grad()
    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Take away the gradient of what is frozen; the share of its norm is logged."""
        total = taken = torch.zeros((), device=memory["frozen"].device)
        for parameter, frozen in views(stage.policy, memory["frozen"]):
            if parameter.grad is not None:
                squares = parameter.grad.float().square()
                total, taken = total + squares.sum(), taken + (squares * frozen).sum()
                parameter.grad.masked_fill_(frozen, 0)
        return {f"{self.name}_share": share_of(taken, total)}

    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Put back what is frozen."""
        starts = views(stage.policy, memory["start"])
        for (parameter, frozen), (_, start) in zip(
            views(stage.policy, memory["frozen"]), starts, strict=True
        ):
            state = optimizer.state.get(parameter, {})
            put(parameter, state, torch.where(frozen, start, whole(parameter, state)))
        return {}
