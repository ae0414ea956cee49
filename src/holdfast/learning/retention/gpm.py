"""Gradient projection memory: matrices change only in input directions that earlier tasks do not use.

GPM (Saha et al., arXiv 2103.09762), eqs. 5 to 9. For each matrix W [O, I], with M [I, k] an orthonormal
basis, empty in the first stage, and X [I, n] the inputs of all tokens of examples of the task:

    ΔW ← ΔW (I − M Mᵀ)     of every gradient, and after every step of what the stage has changed: AdamW
                           leaves the subspace, and the paper's descent does not
    M ← M and the fewest left singular vectors of (I − M Mᵀ) X that bring the part of ‖X‖² in M to ε,
                           at a stage's end

So W x stays for every x in M. Examples are of the stage's own, each with an answer that the policy draws,
as with `ssu` (without its last token, after which nothing is said); what matters of X is its moment X Xᵀ
[I, I], whose eigenvectors its left singular vectors are. What is no such matrix (embeddings, norms, biases,
the head) learns in the first stage alone, as batch normalisation does there. The base has no M of its own:
of what it knows only what the first task uses, too, is protected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory
from holdfast.learning.retention.inputs import listening
from holdfast.learning.retention.passes import drawn_answers
from holdfast.learning.retention.subspaces import Subspace, needed
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_matrices


class GPM(Subspace):
    copies = 4  # the matrices as they were; M; at a stage's end, moments and M with more; each about as large

    kind: Literal["gpm"] = "gpm"
    energy: float = Field(0.95, gt=0, lt=1)  # ε
    examples: int = Field(64, ge=1)  # whose inputs a task's are
    max_tokens: int = Field(64, ge=1)  # of an answer

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up M."""
        if left := self.directions_left(stage):
            self.remember(stage, memory)
            memory |= {f"{name}/used": used for name, used in left.items()}

    def projected(
        self, memory: Mapping[str, torch.Tensor], name: str, change_OI: torch.Tensor
    ) -> torch.Tensor:
        """ΔW (I − M Mᵀ)."""
        used = memory[f"{name}/used"]
        return change_OI - (change_OI @ used) @ used.T

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Project the matrices' gradients, from the second stage on; then nothing else learns."""
        if not memory:
            return {}
        self.only_matrices(stage)
        return super().gradient(stage, memory, groups)

    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Project what the matrices have learned, from the second stage on."""
        return super().stepped(stage, memory, optimizer) if memory else {}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """M, with the directions of this stage's task."""
        return {
            name: extended(memory.get(f"{name}/used", moment[:, :0]), moment, self.energy)
            for name, moment in self.moments(stage).items()
        }

    def moments(self, stage: Stage) -> dict[str, torch.Tensor]:
        """X Xᵀ [I, I] of each matrix, by name."""
        policy, matrices = stage.policy, trained_matrices(stage.policy.model)
        sums = {
            name: torch.zeros(weight.shape[1], weight.shape[1], device=policy.device)
            for name, weight in matrices.items()
        }

        def heard(name: str, inputs: torch.Tensor) -> None:
            inputs_TI = inputs.flatten(0, -2)
            sums[name].addmm_(inputs_TI.T, inputs_TI)

        for answered in drawn_answers(stage, self.name, stage.items, self.examples, self.max_tokens):
            with torch.no_grad(), listening(policy, matrices, heard):
                policy.group_logprobs(*answered)
        return sums


def extended(used_IK: torch.Tensor, moment_II: torch.Tensor, energy: float) -> torch.Tensor:
    """M, with the fewest directions more that bring the share of a moment's energy in it to `energy`."""
    whole = moment_II.trace()
    rest_II = moment_II - used_IK @ (used_IK.T @ moment_II)
    rest_II = rest_II - (rest_II @ used_IK) @ used_IK.T
    values, vectors = torch.linalg.eigh((rest_II + rest_II.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    usable = int((values > 1e-6 * whole).sum())  # beyond is rounding, and a direction may be any
    more = min(usable, needed(values, energy * whole - (whole - rest_II.trace())))
    return torch.cat([used_IK, vectors[:, :more]], 1)
