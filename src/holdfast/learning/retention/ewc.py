"""Online elastic weight consolidation: a quadratic pull to earlier weights, as strong as they mattered.

Kirkpatrick et al. (arXiv 1612.00796), eq. 3; one Fisher information for all earlier tasks as in Progress &
Compress (Schwarz et al., arXiv 1805.06370), sec. 4:

    F ← γ F + E_x E_{y ~ π(. | x)} (∂ log π(y | x) / ∂θ)²        at the end of each stage
    gradient ← gradient + λ F (θ − θ*)                           θ*: the weights at the end of the last one

The Fisher information is that of single sampled answers: squares of a batch's mean gradient would measure
something else, and vanish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from holdfast.generate.rollouts import encode_items
from holdfast.learning.retention import Strategy
from holdfast.learning.retention.terms import add_to_gradient, flat_weights
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import fisher_diagonal
from holdfast.rng import stream as named_stream
from holdfast.rng import torch_stream

if TYPE_CHECKING:
    from holdfast.learning.objectives import Groups
    from holdfast.policy.settings import Sampling


class OnlineEWC(Strategy):
    copies = 4  # F, θ*, the pull; at a stage's end, one more gradient

    kind: Literal["ewc"] = "ewc"
    strength: float = Field(gt=0)  # λ: tune it; what is right depends on F, and F on lengths and sizes
    decay: float = Field(0.95, gt=0, le=1)  # γ
    examples: int = Field(64, ge=1)  # whose answers the Fisher information is of
    max_tokens: int = Field(64, ge=1)  # of an answer

    def begin(self, stage: Stage, memory: dict[str, torch.Tensor]) -> None:
        """Take up F, and the weights the stage begins with as θ*."""
        inherited = stage.inherited.get(self.name)
        if inherited:
            memory["fisher"] = inherited["fisher"].to(stage.policy.device)
            memory["anchor"] = flat_weights(stage.policy)

    @torch.no_grad()
    def gradient(self, stage: Stage, memory: dict[str, torch.Tensor], groups: Groups) -> dict[str, float]:
        """Add λ F (θ − θ*); `ewc_share` is its norm over that of the whole gradient."""
        if "fisher" not in memory:
            return {}
        pull = self.strength * memory["fisher"] * (flat_weights(stage.policy) - memory["anchor"])
        return {"ewc_share": add_to_gradient(stage.policy, pull)}

    def end(self, stage: Stage, memory: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """F of this stage's task, added to that of the earlier ones."""
        from holdfast.policy.settings import Sampling

        names = (*stage.stream, "fisher")
        items = named_stream(*names).sample(list(stage.items), min(self.examples, len(stage.items)))
        sampling: Sampling = Sampling(temperature=1.0, max_tokens=self.max_tokens)
        policy, total = stage.policy, None
        for number, item in enumerate(items):
            prompt = encode_items(policy, [item], stage.method.style, stage.templates)
            generator = torch_stream(*names, number, device=str(policy.device))
            answer = policy.sample(prompt, 1, sampling, generator)
            fisher = fisher_diagonal(policy, prompt, answer, sampling.temperature) / len(items)
            total = fisher if total is None else total.add_(fisher)
        assert total is not None, "a stage has examples"
        if "fisher" in memory:
            total = total.add_(memory["fisher"], alpha=self.decay)
        return {"fisher": total}
