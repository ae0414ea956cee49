"""FINCH: steps are the shorter, the larger the loss.

Prashant et al. (arXiv 2605.20005) bound the forgetting of a step by its rate times the square root of its
loss, so the rate follows a moving average of the loss ℓ:

    ℓ̄ ← β ℓ̄ + (1 − β) ℓ        rate = min(κ / √(ℓ̄ + ε), the schedule's rate)

ℓ is the mean negative log-likelihood of a step's tokens, of this step too; the objective stays as it is. Our
reading: ℓ̄ starts at the first ℓ of a stage, and ε is 1e-8. The authors' cap is 5e-5, here `learning_rate`
with its schedule; κ depends on model and data, and has no default.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.methods import Method
from holdfast.learning.methods.sft import Likely
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.stage import Stage

EPSILON = 1e-8


class FINCH(Strategy):
    kind: Literal["finch"] = "finch"
    kappa: float = Field(gt=0)  # κ: the rate at a loss of 1
    beta: float = Field(0.9, ge=0, lt=1)  # β

    def unfit(self, method: Method) -> str | None:
        if not isinstance(method, Likely) or method.loss != "nll":
            return "follows a likelihood; use it with objective: sft and loss: nll"
        return None

    def rate(self, stage: Stage, memory: Memory, rate: float, loss: float) -> float:
        """The smaller of κ / √ℓ̄ and the schedule's."""
        mean = torch.tensor(loss, dtype=torch.float64)
        if "loss" in memory:
            mean = self.beta * memory["loss"].cpu() + (1 - self.beta) * mean
        lowered = min(rate, self.kappa / (mean.item() + EPSILON) ** 0.5)
        memory["loss"], memory["taken"] = mean, torch.tensor(1 - lowered / rate)
        return lowered

    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """`finch_share` is the part of the schedule's rate that was taken away."""
        return {"finch_share": float(memory["taken"])}
