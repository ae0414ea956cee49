"""Memory-aware synapses: a quadratic pull, as strong as a weight moves the policy's output.

Aljundi et al. (arXiv 1711.09601), no labels needed:

    Ω ← γ Ω + E_x |∂ ‖f(x; θ)‖² / ∂θ|                            at the end of each stage
    gradient ← gradient + λ Ω (θ − θ*)

The paper's f is the output of a classifier. Our reading for language models: f(x) are the log-probabilities
of the tokens of an answer that the policy itself draws, so ‖f‖² = Σ_t (log π(y_t | x, y_<t))². The paper adds
up Ω over tasks, which is γ = 1; its penalty, λ Σ Ω (θ − θ*)², has no half, so that its λ is half of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from holdfast.learning.retention.quadratic import MeasuredPull
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.gradients import flat, trained_parameters

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


class MAS(MeasuredPull):
    measured = "omega"

    kind: Literal["mas"] = "mas"
    decay: float = Field(1.0, gt=0, le=1)  # γ

    def importance(self, policy: Policy, prompt: Prompts, answer: Completions) -> torch.Tensor:
        """|∂ ‖f‖² / ∂θ| [N]."""
        with torch.enable_grad():
            logprobs_BGR = policy.group_logprobs(prompt, answer).logprobs_BGR
            return flat(logprobs_BGR.square().sum(), trained_parameters(policy)).abs_()
