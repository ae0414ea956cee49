"""Matrices that move within a subspace: what OSFT, KeepLoRA and GPM share."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from holdfast.learning.bfloat16 import put, whole
from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import share_of, unusable
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_matrices, trained_parameters


class Subspace(Strategy):
    """Matrices' gradients are projected, and after each step what they learned: AdamW leaves the subspace."""

    adapters = False

    def projected(
        self, memory: Mapping[str, torch.Tensor], name: str, change_OI: torch.Tensor
    ) -> torch.Tensor:
        """The part of a change of a matrix that may be made, [O, I]."""
        raise NotImplementedError

    def directions_left(self, stage: Stage) -> dict[str, torch.Tensor]:
        """Input directions [I, k] that the stage before left, of each matrix; none in the first stage.

        Raises:
            HoldfastError: they are not those of this model.
        """
        if not (left := stage.inherited.get(self.name)):
            return {}
        matrices = trained_matrices(stage.policy.model)
        for name, weight in matrices.items():
            found, inputs = left.get(name), weight.shape[1]
            if found is None or len(found) != inputs or not bool(found.isfinite().all()):
                raise unusable(self.name, f"it has no usable directions of {name} with {inputs} inputs")
        return {name: left[name].to(stage.policy.device) for name in matrices}

    def remember(self, stage: Stage, memory: Memory) -> None:
        """To be called by `begin`: changes are counted from the weights as they are now."""
        for name, weight in trained_matrices(stage.policy.model).items():
            memory[f"{name}/start"] = weight.detach().float().clone()

    def only_matrices(self, stage: Stage) -> None:
        """Nothing else learns in this step."""
        learned = set(trained_matrices(stage.policy.model).values())
        for parameter in trained_parameters(stage.policy):
            if parameter not in learned:
                parameter.grad = None

    @torch.no_grad()
    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Project the matrices' gradients; the share of their norm that this takes away is logged."""
        total = taken = torch.zeros((), device=stage.policy.device)
        for name, weight in trained_matrices(stage.policy.model).items():
            if weight.grad is None:
                continue
            before = weight.grad.float()
            after = self.projected(memory, name, before)
            total, taken = total + before.square().sum(), taken + (before - after).square().sum()
            weight.grad.copy_(after)
        return {f"{self.name}_share": share_of(taken, total)}

    @torch.no_grad()
    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Project what the matrices have learned in this stage."""
        for name, weight in trained_matrices(stage.policy.model).items():
            state, start = optimizer.state.get(weight, {}), memory[f"{name}/start"]
            put(weight, state, start + self.projected(memory, name, whole(weight, state) - start))
        return {}


def needed(energies: torch.Tensor, target: torch.Tensor) -> int:
    """How many of the energies, the largest first, add up to a target."""
    return int((energies.cumsum(0) < target).sum()) + 1 if float(target) > 0 else 0
