"""CPO's movement penalty: the weights that earlier stages moved most are held by a constant force.

CPO (arXiv 2607.04364v3). At the end of stage k, in each tensor, the 10 % with the largest |θ_k − θ_{k−1}| >
0, in the precision that weights are saved in, join R; then

    gradient ← gradient + λ / |R| · sign(θ − θ*) on R            θ*: the weights the stage began with

before AdamW, whatever the objective (the paper's: GSPO). The paper's loss is λ Σ_n 1/|R_n| Σ_{i ∈ R_n} |θ_i −
θ*_i|; that R is one set over all tensors is our reading. If n counts tensors, each has a force of its own
there, λ / |R_n|: small ones are held hardest, and all together much harder by the same λ.

`control: random` has as many weights of each tensor in R, drawn by chance: whether it matters which.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import (
    add_to_gradient,
    flat_weights,
    inherited,
    random_mask,
    top_mask,
    views,
)
from holdfast.learning.stage import Stage
from holdfast.rng import torch_stream


class CPO(Strategy):
    copies = 2.75  # θ*, R, the pull; at a stage's end, what moved and two masks more

    kind: Literal["cpo"] = "cpo"
    strength: float = Field(100.0, gt=0)  # λ
    share: float = Field(0.1, gt=0, le=1)  # of each tensor, that joins R after a stage
    control: Literal["random"] | None = None

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up R and θ*."""
        memory |= inherited(stage, self.name, "mask") | {"anchor": flat_weights(stage.policy)}

    @torch.no_grad()
    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add λ / |R| · sign(θ − θ*) on R."""
        if "mask" not in memory:
            return {}
        mask = memory["mask"]
        force = self.strength / max(1, int(mask.sum()))
        pull = flat_weights(stage.policy).sub_(memory["anchor"]).sign_().mul_(mask).mul_(force)
        return {"cpo_share": add_to_gradient(stage.policy, pull)}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """R with what this stage moved."""
        moved = flat_weights(stage.policy).sub_(memory["anchor"]).abs_()
        generator = torch_stream(*stage.stream, "cpo", device=str(stage.policy.device))
        parts = []
        for _, part in views(stage.policy, moved):
            mask = top_mask(part, self.share) & (part > 0)
            parts.append((random_mask(mask, generator) if self.control else mask).flatten())
        mask = torch.cat(parts)
        return {"mask": mask | memory["mask"] if "mask" in memory else mask}
