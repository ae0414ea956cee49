"""Target-masked KL: what the policy would say besides the target stays as the base has it.

Xu et al. (arXiv 2605.29498) take the target token y_t out of both distributions and scale the rest to 1:

    gradient ← gradient + α ∇ mean_t KL(π_base(· | · ≠ y_t) ‖ π(· | · ≠ y_t))        given x and y_<t

So it does not pull against the likelihood of the target, as the divergence of whole distributions does. Our
reading: α is 1. In a sequence of tasks the base may be the model before all of them or before the stage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from holdfast.learning.distillation import TABLES, divergence
from holdfast.learning.methods import Method
from holdfast.learning.methods.sft import Likely
from holdfast.learning.retention import Distributions
from holdfast.learning.retention.lwf import ChosenTeacher
from holdfast.policy.batch import Completions


class TargetMaskedKL(ChosenTeacher):
    kind: Literal["tmkl"] = "tmkl"  # type: ignore[assignment]

    def unfit(self, method: Method) -> str | None:
        if not isinstance(method, Likely):
            return "takes targets out of distributions; use it with objective: sft"
        return None

    def distributions(self, method: Method) -> Distributions:
        """Those of a whole divergence, the policy's without targets, and one more on the way back."""
        return replace(super().distributions(method), tables=TABLES + 2)

    def apart(self, then_TV: torch.Tensor, now_TV: torch.Tensor, said: Completions) -> torch.Tensor:
        return without_targets(then_TV, now_TV, said.tokens_BGR[said.mask_BGR])


def without_targets(then_TV: torch.Tensor, now_TV: torch.Tensor, targets_T: torch.Tensor) -> torch.Tensor:
    """KL(then ‖ now) [T] of distributions without their targets, from log-probabilities.

    Args:
        then_TV: changed in place.
    """
    gone_T1 = targets_T[:, None]
    then_TV.scatter_(1, gone_T1, -1e30)
    then_TV -= then_TV.logsumexp(1, keepdim=True)
    now_TV = now_TV.scatter(1, gone_T1, -1e30)
    now_TV -= now_TV.detach().logsumexp(1, keepdim=True)  # near 0, where numbers are finer
    # What scales the rest to 1 is the same for all entries, and its gradient needs no table.
    return divergence(then_TV, now_TV) + now_TV.logsumexp(1)
