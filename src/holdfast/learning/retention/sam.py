"""Sharpness-aware minimisation: a step goes down from where the loss is highest nearby, to a flatter place.

Foret et al. (arXiv 2010.01412), eq. 2 and 3; against forgetting in language models, Li et al. (arXiv
2406.04836):

    gradient ← ∇L(θ + ρ g / ‖g‖)        g = ∇L(θ), of the same examples and answers

What later moves the weights costs less where the loss is flat. Under RFT L is the surrogate with the ratio to
the policy that sampled, so nothing is drawn anew. ‖g‖ is that of all trained weights together. Of weights in
bfloat16, what of ρ g / ‖g‖ is below their rounding is lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.answers import gradient_of
from holdfast.learning.retention.vectors import (
    add_to_gradient,
    flat_gradient,
    flat_weights,
    set_weights,
    views,
)
from holdfast.learning.stage import Stage


class SharpnessAware(Strategy):
    copies = 3  # g, the weights, and the gradient beside them

    kind: Literal["sam"] = "sam"
    radius: float = Field(0.05, gt=0)  # ρ

    def passes(self, method: Method) -> float:
        """One to train, over the same again."""
        return 3

    def unfit(self, method: Method) -> str | None:
        """It takes the whole gradient anew, so what others added before would be lost."""
        return None if method.retention[0].kind == "sam" else "takes the gradient anew; list it first"

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Take the gradient beside the weights; `sam_share` is how much of it is other than that at them."""
        policy, objective = stage.policy, stage.objective
        assert objective is not None, "a step has been taken"
        rows, here = objective.teaching(groups), flat_gradient(policy)
        norm = float(here.norm())
        if not rows or not 0 < norm < torch.inf:
            return {"sam_share": 0.0}
        if groups.old_logprobs_BGR is None:  # the policy that samples is the one before the step, not beside
            groups = replace(groups, old_logprobs_BGR=groups.completions.logprobs_BGR)
        taught, tokens = replace(groups.rows(rows), prefill=None), groups.completions.mask_BGR.sum()
        before = flat_weights(policy)
        with torch.no_grad():
            for parameter, part in views(policy, here):
                parameter.add_(part.to(parameter.dtype), alpha=self.radius / norm)
        try:
            beside = gradient_of(stage, taught, lambda part, _: objective.loss(policy, part).loss / tokens)
        finally:
            set_weights(policy, before)
        return {"sam_share": add_to_gradient(policy, beside.sub_(here))}
