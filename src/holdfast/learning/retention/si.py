"""Synaptic intelligence: a quadratic pull, as strong as a weight's way through its stage lowered the loss.

Zenke et al. (arXiv 1703.04200), eqs. 3 to 5; no pass besides:

    ω ← ω − g Δθ                          at each step, from 0 at a stage's start
    Ω ← Ω + max(ω, 0) / (Δ² + ξ)          at its end, with Δ what the stage changed
    gradient ← gradient + λ Ω (θ − θ*)    θ*: the weights at the end of the last one

g is the gradient as it is found, before this pull and before clipping: what strategies listed before it add
or take away is part of the loss to it, what those after it do is not. Δθ is the optimiser's step, decay
included; what a strategy listed later changes after a step (`osft`, `mofo`) counts with the next one.

The paper's eq. 5 has ω as it is; its penalty, c Σ Ω (θ − θ*)², has no half, so that its c is half of our λ.
That a stage in which a weight raised the loss counts as nothing, and not against the stages before, is our
reading. While weights move by less than √ξ in a stage, as in post-training, Ω is ω / ξ, and ξ only scales λ.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory
from holdfast.learning.retention.quadratic import QuadraticPull
from holdfast.learning.retention.vectors import exact_weights, flat_gradient, flat_weights, inherited
from holdfast.learning.stage import Stage


class SynapticIntelligence(QuadraticPull):
    copies = 8  # Ω, θ*, ω, g, the weights before a step; the pull and what it is made of
    measured = "omega"

    kind: Literal["si"] = "si"
    damping: float = Field(0.1, gt=0)  # ξ

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up Ω and the weights the stage begins with; the path begins here."""
        start = flat_weights(stage.policy)
        memory |= inherited(stage, self.name, self.measured)
        memory |= {"anchor": start, "before": start.clone(), "path": torch.zeros_like(start)}

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Note g, and add the pull."""
        memory["gradient"] = flat_gradient(stage.policy)
        return super().gradient(stage, memory, groups)

    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Go on along the path; a step that was skipped is none of it."""
        after = exact_weights(stage.policy, optimizer)
        memory["path"].addcmul_(memory.pop("gradient"), memory["before"].sub_(after))
        memory["before"] = after
        return {}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """Ω of all stages so far."""
        change = memory["before"] - memory["anchor"]
        total = memory["path"].clamp_min(0).div_(change.square_().add_(self.damping))
        return {self.measured: total.add_(memory[self.measured]) if self.measured in memory else total}
