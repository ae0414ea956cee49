"""Orthogonal subspace fine-tuning: what a matrix does mostly, it goes on doing.

OSFT (Nayak et al., arXiv 2504.07097; the rule as in mini_trainer, `osft_utils.py`). At the start of each
stage W = U_h S_h V_hᵀ + U_l S_l V_lᵀ, with the top share of the singular values in the first part, which is
frozen. Training U_l and V_l orthogonally to U_h and V_h is, in weight space,

    ΔW ← (I − U_h U_hᵀ) ΔW (I − V_h V_hᵀ)

of every gradient, and after every step of what the stage has changed; so W V_h and U_hᵀ W stay. AdamW works
on W here and on U_l and V_l there: the same weights can be reached, not by the same steps. Weights that are
no such matrix (embeddings, norms, biases) are learned freely.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.retention import Memory
from holdfast.learning.retention.subspaces import Subspace
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_matrices


class OSFT(Subspace):
    copies = 3  # the matrices as they were; U_h and V_h; a change

    kind: Literal["osft"] = "osft"
    share: float = Field(0.5, gt=0, lt=1)  # of the singular values whose directions are frozen

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take the matrices apart, as the stage found them."""
        self.remember(stage, memory)
        for name, weight in trained_matrices(stage.policy.model).items():
            left, values, right = torch.linalg.svd(weight.detach().float(), full_matrices=False)
            kept = round(self.share * len(values))
            memory[f"{name}/left"] = left[:, :kept].contiguous()
            memory[f"{name}/right"] = right[:kept].T.contiguous()

    def projected(
        self, memory: Mapping[str, torch.Tensor], name: str, change_OI: torch.Tensor
    ) -> torch.Tensor:
        """(I − U_h U_hᵀ) ΔW (I − V_h V_hᵀ)."""
        left, right = memory[f"{name}/left"], memory[f"{name}/right"]
        change_OI = change_OI - left @ (left.T @ change_OI)
        return change_OI - (change_OI @ right) @ right.T
