"""KeepLoRA: each stage moves matrices in a few input directions that nothing before it uses.

KeepLoRA (ICLR 2026), in weight space. For each matrix W [O, I], with U_p [I, k] an orthonormal basis:

    U_p ← the top input-side singular vectors of W that hold 60 % of its energy Σ σ²       in the first stage
    G ← G − G U_p U_pᵀ        the mean gradient on a share of the stage's examples, at its start
    A ← the top r input-side singular vectors of G
    ΔW ← ΔW AᵀA               of every gradient, and after every step of what the stage has changed
    U_p ← U_p and the directions of G that bring the energy of the whole gradient in them to 99.5 %

There ΔW = BA with A frozen and B trained, merged at the stage's end; here AdamW works on W, so the same
weights can be reached, not by the same steps. That the last rule uses the gradient at the start, and that all
other weights are frozen, is our reading. Since ΔW is projected, AdamW's own scale takes the place of LoRA's
α.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.retention import Memory
from holdfast.learning.retention.passes import gradient_version, objective_gradient
from holdfast.learning.retention.subspaces import Subspace, needed
from holdfast.learning.retention.vectors import flat_weights, views
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_matrices
from holdfast.rng import stream as named_stream


class KeepLoRA(Subspace):
    copies = 4  # the matrices as they were; U_p, A; the mean gradient; a change

    kind: Literal["keeplora"] = "keeplora"
    rank: int = Field(128, ge=1)  # r
    examples: float = Field(0.2, gt=0, le=1)  # share of the stage's, of which the mean gradient is taken
    base_energy: float = Field(0.6, gt=0, lt=1)  # of the base's matrices, in protected directions
    task_energy: float = Field(0.995, gt=0, lt=1)  # of a stage's gradient, likewise

    def results_version(self, method: Method) -> int:
        return gradient_version(method)

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Find the directions of this stage, and those that are protected after it."""
        matrices = trained_matrices(stage.policy.model)
        protected = self.directions_left(stage) or {
            name: top_inputs(weight.detach().float(), self.base_energy) for name, weight in matrices.items()
        }
        gradients = dict(views(stage.policy, self.mean_gradient(stage)))
        self.remember(stage, memory)
        for name, weight in matrices.items():
            rows, more = directions(gradients[weight], protected[name], self.rank, self.task_energy)
            memory[f"{name}/rows"] = rows
            memory[f"{name}/protected"] = torch.cat([protected[name], more], 1)

    def mean_gradient(self, stage: Stage) -> torch.Tensor:
        """On a share of the stage's examples, [N]; zero where nothing can be learned from them."""
        names = (*stage.stream, "keeplora")
        if stage.sampler is not None:
            stage.sampler.refresh()  # no iteration has done it yet
        count = max(1, round(self.examples * len(stage.items)))
        chosen = named_stream(*names).sample(list(stage.items), count)
        total = torch.zeros_like(flat_weights(stage.policy))
        for start in range(0, count, stage.method.batch):
            batch = chosen[start : start + stage.method.batch]
            gradient = objective_gradient(stage, batch, (*names, start))
            if gradient is not None:
                total.add_(gradient, alpha=len(batch) / count)
        return total

    def projected(
        self, memory: Mapping[str, torch.Tensor], name: str, change_OI: torch.Tensor
    ) -> torch.Tensor:
        """ΔW AᵀA."""
        rows = memory[f"{name}/rows"]
        return (change_OI @ rows.T) @ rows

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Project the matrices' gradients; nothing else learns."""
        self.only_matrices(stage)
        return super().gradient(stage, memory, groups)

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """U_p of the next stage."""
        return {name: memory[f"{name}/protected"] for name in trained_matrices(stage.policy.model)}


def top_inputs(matrix_OI: torch.Tensor, energy: float) -> torch.Tensor:
    """The fewest input-side singular vectors [I, k] that hold a share of the energy."""
    _, values, right = torch.linalg.svd(matrix_OI, full_matrices=False)
    return right[: needed(values.square(), energy * values.square().sum())].T.contiguous()


def directions(
    gradient_OI: torch.Tensor, protected_IK: torch.Tensor, rank: int, energy: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A [r, I] of a stage, and what is protected after it besides [I, m]."""
    whole = gradient_OI.square().sum()
    rest = gradient_OI - (gradient_OI @ protected_IK) @ protected_IK.T
    _, values, right = torch.linalg.svd(rest, full_matrices=False)
    usable = int((values > 1e-5 * whole.sqrt()).sum())  # beyond, a direction may be any, a protected one too
    held = whole - rest.square().sum()
    more = min(usable, needed(values.square(), energy * whole - held)) if float(whole) > 0 else 0
    return right[: min(rank, usable)].contiguous(), right[:more].T.contiguous()
