"""A quadratic pull to earlier weights, each as strong as it mattered: what EWC, MAS and SI share."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.passes import mean_over_answers
from holdfast.learning.retention.vectors import add_to_gradient, flat_weights, inherited
from holdfast.learning.stage import Stage
from holdfast.policy.batch import Completions, Prompts

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


class QuadraticPull(Strategy):
    """gradient ← gradient + λ I (θ − θ*), with the importance I that earlier stages left.

    θ are the weights that the policy computes with: in bfloat16 they are pulled once they have changed there.
    """

    measured: ClassVar[str]  # what the importance is called where it lies

    strength: float = Field(gt=0)  # λ: tune it; what is right depends on I, and I on lengths and sizes

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up I, and the weights the stage begins with as θ*."""
        if found := inherited(stage, self.name, self.measured):
            memory |= found | {"anchor": flat_weights(stage.policy)}

    @torch.no_grad()
    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add λ I (θ − θ*); its share of the whole gradient is logged."""
        if self.measured not in memory:
            return {}
        away = flat_weights(stage.policy).sub_(memory["anchor"])
        pull = (self.strength * memory[self.measured]).mul_(away)
        return {f"{self.name}_share": add_to_gradient(stage.policy, pull)}


class MeasuredPull(QuadraticPull):
    """The importance is measured on answers at each stage's end: I ← γ I + that on this task."""

    copies = 4  # I, θ*, θ − θ*, the pull; at a stage's end, the new I and a gradient in place of the last two

    decay: float = Field(0.95, gt=0, le=1)  # γ
    examples: int = Field(64, ge=1)  # whose answers the importance is of
    max_tokens: int = Field(64, ge=1)  # of an answer

    def importance(self, policy: Policy, prompt: Prompts, answer: Completions) -> torch.Tensor:
        """How much each weight matters for one answer, [N]."""
        raise NotImplementedError

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """I of this stage's task, added to that of the earlier ones."""
        importance = partial(self.importance, stage.policy)
        total = mean_over_answers(
            stage, self.measured, stage.items, self.examples, self.max_tokens, importance
        )
        if self.measured in memory:
            total = total.add_(memory[self.measured], alpha=self.decay)
        return {self.measured: total}
