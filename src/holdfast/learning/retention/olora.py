"""O-LoRA: each task learns in low-rank directions of its own, orthogonal to those of earlier tasks.

Wang et al. (arXiv 2310.14152): a new adapter B_t A_t for each task, the old ones frozen and in use, and

    loss ← loss + λ Σ_{old} Σ |A_t A_oldᵀ|

as the released code has it; the paper squares the entries, so that its pull fades as the directions part.
Here the adapters of all tasks are slices of one: of LoRA with `model.lora.rank` R, stage t trains the t-th
`rank` rows of A and columns of B. The rest is frozen; slices of later tasks add nothing, as their B is still
zero. So R must be `rank` times the number of stages, and LoRA's scale is α / R for all. Without the paper's
second, L2 term.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.errors import HoldfastError
from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.retention import Memory
from holdfast.learning.retention.frozen import Frozen
from holdfast.learning.retention.vectors import unusable
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_parameters, trained_weights


class OLoRA(Frozen):
    adapters = True

    kind: Literal["olora"] = "olora"
    strength: float = Field(0.5, gt=0)  # λ
    rank: int = Field(ge=1)  # of a task's adapter

    def least_rank(self, stages: int) -> int:
        return self.rank * stages

    def results_version(self, method: Method) -> int:
        """Of embeddings' adapters the columns of A were taken for directions."""
        return 2

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Freeze all slices but this stage's."""
        left = stage.inherited.get(self.name)
        if left and ("used" not in left or left["used"].numel() != 1):
            raise unusable(self.name, "it does not say how many slices are used")
        used = int(left["used"]) if left else 0
        masks = []
        for name, parameter in trained_weights(stage.policy.model).items():
            axis = 0 if _is_first(name) else 1
            room = parameter.shape[axis]
            if used + self.rank > room:
                raise HoldfastError(
                    f"retention: olora: model.lora.rank {room} has room for {room // self.rank} tasks of "
                    f"rank {self.rank}; let it be rank times the number of stages."
                )
            frozen = torch.ones_like(parameter, dtype=torch.bool)
            frozen.narrow(axis, used, self.rank).fill_(False)
            masks.append(frozen.flatten())
        self.freeze(stage, memory, torch.cat(masks))
        memory["used"] = torch.tensor(used)

    @torch.no_grad()
    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add λ sign(A_t A_oldᵀ) A_old to the gradient of A_t; its share of the whole is logged."""
        super().gradient(stage, memory, groups)
        if not (used := int(memory["used"])):
            return {"olora_share": 0.0}
        added = torch.zeros((), device=stage.policy.device)
        for name, parameter in trained_weights(stage.policy.model).items():
            if parameter.grad is None or not _is_first(name):
                continue
            old, new = parameter[:used], parameter[used : used + self.rank]
            pull = self.strength * torch.sign(new @ old.T) @ old
            parameter.grad[used : used + self.rank] += pull
            added = added + pull.square().sum()
        gradients = [one.grad for one in trained_parameters(stage.policy) if one.grad is not None]
        total = sum(gradient.square().sum() for gradient in gradients)
        return {"olora_share": float((added / total).sqrt())}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """How many rows are used."""
        return {"used": memory["used"] + self.rank}


def _is_first(name: str) -> bool:
    """Whether it is an A, whose rows are directions; of a B the columns go with them."""
    return ".lora_A." in name or ".lora_embedding_A." in name
