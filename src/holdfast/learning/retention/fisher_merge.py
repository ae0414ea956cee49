"""Fisher-weighted merging at each stage's end: of each weight, more of the task that it matters for.

CoFiMA (Marouf et al., arXiv 2312.08977), after Fisher merging (Matena & Raffel, arXiv 2111.09832):

    θ ← (λ F_k θ_k + (1 − λ) F_{k−1} θ_{k−1}) / (λ F_k + (1 − λ) F_{k−1})

with θ_{k−1} the weights the stage began with and F_k the Fisher information of the stage's task at θ_k. The
first stage, which has no task before it, is not merged. A weight that matters for neither takes
λ θ_k + (1 − λ) θ_{k−1}.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.passes import mean_over_answers
from holdfast.learning.retention.vectors import flat_weights, inherited, set_weights
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import fisher_diagonal


class FisherMerge(Strategy):
    copies = 5  # θ_{k−1} and its F; at a stage's end, θ_k, its F and one more gradient

    kind: Literal["fisher_merge"] = "fisher_merge"
    weight: float = Field(0.4, gt=0, lt=1)  # λ
    examples: int = Field(64, ge=1)  # whose answers the Fisher information is of
    max_tokens: int = Field(64, ge=1)  # of an answer

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up θ_{k−1} and its F."""
        if found := inherited(stage, self.name, "fisher"):
            memory |= found | {"start": flat_weights(stage.policy)}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """Merge; F is that of the task at what was learned for it."""
        policy = stage.policy
        measure = partial(fisher_diagonal, policy, temperature=1.0)
        fisher = mean_over_answers(stage, "fisher", stage.items, self.examples, self.max_tokens, measure)
        if "fisher" in memory:
            new, old = self.weight * fisher, (1 - self.weight) * memory["fisher"]
            total = new + old
            share = torch.where(total > 0, new / total.clamp_min(1e-38), self.weight)
            set_weights(policy, torch.lerp(memory["start"], flat_weights(policy), share))
        return {"fisher": fisher}
