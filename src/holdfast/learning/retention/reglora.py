"""RegLoRA: where earlier tasks changed a matrix most, a later one is to change it little.

SEFE (Chen et al., arXiv 2505.02486). For each adapted matrix, with ΔW = B A what a task adds to it,

    M ← M and the places of the top 2 % of |ΔW|                     at the end of each stage
    loss ← loss + λ · mean over matrices of Σ |ΔW ⊙ M| / Σ M        with the ΔW of this stage

There each task has an adapter of its own, those before are merged into the base, and a place that two tasks
chose counts twice (the released code; its λ is 2500). Here one adapter is trained on, so that ΔW is, in our
reading, what the stage has changed, B A − B_0 A_0 with those it began with, and each place counts once. As
there, ΔW is without LoRA's scale, α / rank, which λ takes in.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import add_to_gradient, unusable
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_weights

Pair = tuple[torch.nn.Parameter, torch.nn.Parameter]  # A [r, I] and B [O, r]


class RegLoRA(Strategy):
    adapters = True
    # A_0 and B_0, the pull. Besides, of a model 4096 wide at rank 16: 2.6 for each task's places (share ·
    # width / (2 · rank)), counted for three of them, and 2 for a matrix while it is looked at.
    copies = 12

    kind: Literal["reglora"] = "reglora"
    strength: float = Field(2500, gt=0)  # λ; the authors' for 7B: in smaller matrices a place weighs more
    share: float = Field(0.02, gt=0, lt=1)  # of the entries of each matrix that a task holds

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Note A_0 and B_0, and take up the places that are held.

        Raises:
            HoldfastError: they are not those of this model.
        """
        left = stage.inherited.get(self.name, {})
        for name, (down, up) in pairs(stage.policy.model).items():
            memory |= {f"{name}/A": down.detach().clone(), f"{name}/B": up.detach().clone()}
            if left:
                found, size = left.get(name), up.shape[0] * down.shape[1]
                if found is None or (len(found) and not 0 <= int(found.min()) <= int(found.max()) < size):
                    raise unusable(self.name, f"it has no places in {name} with {size} entries")
                memory[f"{name}/places"] = found.to(stage.policy.device)

    @torch.no_grad()
    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add the penalty's gradient, from the second stage on; its share of the whole is logged."""
        if not stage.inherited.get(self.name):
            return {}
        found, terms = pairs(stage.policy.model), {}
        for name, (down, up) in found.items():
            places = memory[f"{name}/places"].long()
            change_OI = changed(memory, name, down, up)
            signs = change_OI.flatten()[places].sign() * (self.strength / len(found) / max(1, len(places)))
            pull_OI = change_OI.zero_()
            pull_OI.view(-1)[places] = signs
            terms[down], terms[up] = up.float().T @ pull_OI, pull_OI @ down.float().T
        weights = trained_weights(stage.policy.model).values()
        pull = torch.cat([terms.get(one, torch.zeros_like(one)).flatten() for one in weights])
        return {"reglora_share": add_to_gradient(stage.policy, pull)}

    @torch.no_grad()
    def end(self, stage: Stage, memory: Memory) -> Memory:
        """The places of earlier tasks and of this one."""
        held = {}
        for name, (down, up) in pairs(stage.policy.model).items():
            sizes = changed(memory, name, down, up).abs_().flatten()
            largest, places = sizes.topk(max(1, int(self.share * len(sizes))))
            places = places[largest > 0].int()
            if f"{name}/places" in memory:
                places = torch.cat([memory[f"{name}/places"], places])
            held[name] = places.unique()
        return held


def pairs(model: torch.nn.Module) -> dict[str, Pair]:
    """A and B of each adapted matrix, by the name of A."""
    weights = trained_weights(model)
    return {
        name: (weight, weights[name.replace(".lora_A.", ".lora_B.").replace("embedding_A.", "embedding_B.")])
        for name, weight in weights.items()
        if ".lora_A." in name or ".lora_embedding_A." in name
    }


def changed(memory: Memory, name: str, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """What the stage has changed of a matrix, [O, I]."""
    return up.float() @ down.float() - memory[f"{name}/B"].float() @ memory[f"{name}/A"].float()
