"""The strategies of a stage that is running, each with its memory; all are called in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast.generate.rollouts import Item
from holdfast.learning.retention import Memory, Strategy

if TYPE_CHECKING:
    import torch

    from holdfast.learning.objectives import Groups
    from holdfast.learning.stage import Stage


class Strategies:
    """Begins them; the policy is as the stage found it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._each: list[tuple[Strategy, Memory]] = [(strategy, {}) for strategy in stage.method.retention]
        for strategy, memory in self._each:
            strategy.begin(stage, memory)

    def batch(self, items: list[Item], iteration: int) -> list[Item]:
        for strategy, memory in self._each:
            items = strategy.batch(self.stage, memory, items, iteration)
        return items

    def collected(self, groups: Groups) -> Groups:
        for strategy, memory in self._each:
            groups = strategy.collected(self.stage, memory, groups)
        return groups

    def gradient(self, groups: Groups) -> dict[str, float]:
        said: dict[str, float] = {}
        for strategy, memory in self._each:
            said |= strategy.gradient(self.stage, memory, groups)
        return said

    def rate(self, rate: float, loss: float) -> float:
        for strategy, memory in self._each:
            rate = strategy.rate(self.stage, memory, rate, loss)
        return rate

    def stepped(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        said: dict[str, float] = {}
        for strategy, memory in self._each:
            said |= strategy.stepped(self.stage, memory, optimizer)
        return said

    def end(self) -> dict[str, Memory]:
        """What each leaves to the next stage, by its name."""
        left = {strategy.name: strategy.end(self.stage, memory) for strategy, memory in self._each}
        return {name: tensors for name, tensors in left.items() if tensors}

    @property
    def memory(self) -> Memory:
        """All of theirs, in one mapping."""
        return {
            f"{strategy.name}/{name}": tensor
            for strategy, memory in self._each
            for name, tensor in memory.items()
        }

    def recall(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Take up what `memory` held when the checkpoint was written."""
        memories = {strategy.name: memory for strategy, memory in self._each}
        for place, tensor in kept.items():
            owner, _, name = place.partition("/")
            if name:
                memories[owner][name] = tensor.to(self.stage.policy.device)
