"""Riemannian walk: a quadratic pull by a Fisher information and by how much a weight's way lowered the loss.

Chaudhry et al. (arXiv 1801.10112), sec. 4; between EWC and synaptic intelligence, with no pass besides:

    F ← γ F + (1 − γ) g²                                     at each step, on through the stages (EWC++)
    s ← s + max(Σ −g Δθ, 0) / (½ F Δ² + ξ)                   every n steps; sum and Δ: over these
    ŝ ← (ŝ + s) / 2,  I = F / max F + ŝ / max ŝ              at a stage's end; ŝ = s in the first
    gradient ← gradient + λ I (θ − θ*)                       θ*: the weights at the end of the last stage

½ F Δ² is how far a weight's change moves the policy's distribution (the KL divergence to second order), so s
is the loss that was taken away for each nat of it. g is the gradient as `si` sees it: of the whole step,
before this pull and before clipping. Squares of a mean gradient are no Fisher information of single answers,
as `ewc` has it, but they cost nothing. The paper's penalty, λ Σ I (θ − θ*)², has no half, so its λ is half of
ours. Where ½ F Δ² is small beside ξ, as at the rates of post-training, s is SI's way, and I has no scale.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.retention import Memory
from holdfast.learning.retention.pool import count
from holdfast.learning.retention.si import SynapticIntelligence
from holdfast.learning.retention.vectors import flat_weights, inherited
from holdfast.learning.stage import Stage


class RiemannianWalk(SynapticIntelligence):
    # I, F, s, ŝ, θ*, the path, g, the weights before a step and n steps ago; the pull and its parts.
    copies = 11
    measured = "importance"

    kind: Literal["rwalk"] = "rwalk"  # type: ignore[assignment]
    decay: float = Field(0.9, ge=0, lt=1)  # γ
    every: int = Field(10, ge=1)  # n

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up F and ŝ, and the weights the stage begins with; the walk begins here."""
        start = flat_weights(stage.policy)
        memory |= {"anchor": start, "before": start.clone(), "since": start.clone()}
        memory |= {name: torch.zeros_like(start) for name in ("fisher", "score", "path")}
        if found := inherited(stage, self.name, "fisher", "score"):
            memory |= {"fisher": found["fisher"], "earlier": found["score"]}
            memory[self.measured] = _share_of_most(found["fisher"]).add_(_share_of_most(found["score"]))

    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Go on along the walk; a step that was skipped is none of it."""
        gradient = memory["gradient"]
        super().stepped(stage, memory, optimizer)
        memory["fisher"].mul_(self.decay).addcmul_(gradient, gradient, value=1 - self.decay)
        if (count(memory, "steps") + 1) % self.every == 0:
            self._score(memory)
        return {}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """F, and the scores of all stages so far."""
        self._score(memory)  # of the steps that are left
        score = memory["score"]
        return {"fisher": memory["fisher"], "score": score.lerp(memory.get("earlier", score), 0.5)}

    def _score(self, memory: Memory) -> None:
        """Add what the last steps are worth, and begin to count anew."""
        change = memory["since"].sub_(memory["before"])
        nats = change.square_().mul_(memory["fisher"]).mul_(0.5).add_(self.damping)
        memory["score"].addcdiv_(memory["path"].clamp_min_(0), nats)
        memory["since"] = memory["before"].clone()
        memory["path"].zero_()


def _share_of_most(vector_N: torch.Tensor) -> torch.Tensor:
    """Between 0 and 1, whatever the scale."""
    return vector_N / vector_N.max().clamp_min(torch.finfo(vector_N.dtype).tiny)
