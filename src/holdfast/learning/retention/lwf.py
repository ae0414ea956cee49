"""Learning without forgetting: what the policy of the stage's start would say to the new examples is kept.

Li & Hoiem (arXiv 1606.09282), the loss of old tasks, over the tokens of completions that are learned from:

    gradient ← gradient + α ∇ mean_t KL(π_prev(· | x, y_<t) ‖ π(· | x, y_<t))    both at temperature T

No old data. (Without the factor T² of other distillation; the cross-entropy of the paper has the same
gradient.) In the first stage π_prev is the base. The teacher runs without dropout, as all passes here.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.distillation import ENTRIES, TABLES, divergence, rows_at_once
from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.retention import Distributions, Memory, Strategy
from holdfast.learning.retention.answers import gradient_of
from holdfast.learning.retention.vectors import add_to_gradient
from holdfast.learning.stage import Stage
from holdfast.policy.batch import Completions


class LearningWithoutForgetting(Strategy):
    copies = 1  # the gradient of the divergence

    kind: Literal["lwf"] = "lwf"
    alpha: float = Field(1.0, gt=0)
    temperature: float = Field(2.0, gt=0)  # T

    @property
    def looks_at(self) -> Literal["base", "stage_start"]:
        """The teacher."""
        return "stage_start"

    def passes(self, method: Method) -> float:
        """The teacher's, and one to train."""
        return 1 + 3

    def distributions(self, method: Method) -> Distributions:
        step = method.batch // method.updates
        return Distributions(TABLES, step, method.completions, ENTRIES)

    def apart(self, then_TV: torch.Tensor, now_TV: torch.Tensor, said: Completions) -> torch.Tensor:
        """How far log-probabilities are from the teacher's [T], with gradient."""
        return divergence(then_TV, now_TV)

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Keep the policy as it is."""
        stage.past(self.looks_at)

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add that of the divergence; `NAME_share` is its part of the whole."""
        teacher, tokens = stage.past(self.looks_at), groups.completions.mask_BGR.sum()

        def loss(part: Groups, _: range) -> torch.Tensor:
            asked = (part.prompts, part.completions, self.temperature)
            then_TV = teacher.group_distributions(*asked)
            apart_T = self.apart(then_TV, stage.policy.distributions(*asked), part.completions)
            return self.alpha * apart_T.sum() / tokens

        stage.spent["flops"] += stage.policy.operations.forward(groups.prompts, groups.completions)
        most = rows_at_once(stage.policy, groups.completions)
        return {f"{self.name}_share": add_to_gradient(stage.policy, gradient_of(stage, groups, loss, most))}


class ChosenTeacher(LearningWithoutForgetting):
    """The teacher is the base, unless `to` says otherwise; at temperature 1."""

    temperature: float = Field(1.0, gt=0)
    to: Literal["base", "stage_start"] = "base"

    @property
    def looks_at(self) -> Literal["base", "stage_start"]:
        return self.to
