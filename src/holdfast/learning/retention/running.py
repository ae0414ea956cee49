"""The strategies of a stage that is running, each with its memory; all are called in their order."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping
from typing import Any

import torch

from holdfast import plugins
from holdfast.errors import HoldfastError
from holdfast.generate.rollouts import Item
from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.stage import Stage
from holdfast.tasks.example import Example
from holdfast.tasks.task import Task

# What a row of the training log holds besides, whatever the method.
LOGGED = ("step", "loss", "entropy", "grad_norm", "learning_rate", "skipped", "kl", "clipped",
          "tokens_per_s", "seconds")  # fmt: skip


class Strategies:
    """Begins them; the policy is as the stage found it.

    Raises:
        HoldfastError: by any method, where a hook returns something else than it must.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._each: list[tuple[Strategy, Memory]] = [(strategy, {}) for strategy in stage.method.retention]
        self.own: dict[str, str] = {}  # numbers that code of the user's gave the log, and whose they are
        for strategy, memory in self._each:
            strategy.begin(stage, memory)

    def batch(self, items: list[Item], iteration: int) -> list[Item]:
        for strategy, memory in self._each:
            items = strategy.batch(self.stage, memory, items, iteration)
            listed = isinstance(items, list | tuple) and all(map(_is_item, items))
            _check(strategy, "batch", items, bool(items) and listed, "some of the items, or others like them")
        return items

    def collected(self, groups: Groups) -> Groups:
        kind = type(groups)
        for strategy, memory in self._each:
            groups = strategy.collected(self.stage, memory, groups)
            _check(strategy, "collected", groups, isinstance(groups, kind), "groups")
        return groups

    def gradient(self, groups: Groups) -> dict[str, float]:
        said: dict[str, float] = {}
        for strategy, memory in self._each:
            found = strategy.gradient(self.stage, memory, groups)
            said |= self._numbers(strategy, "gradient", found, (*LOGGED, *groups.stats, *said))
        return said

    def rate(self, rate: float, loss: float) -> float:
        for strategy, memory in self._each:
            found = strategy.rate(self.stage, memory, rate, loss)
            rate = _number(strategy, "rate", found)
            _check(strategy, "rate", found, 0 <= rate < math.inf, "a finite number that is not below 0")
        return rate

    def stepped(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        said: dict[str, float] = {}
        for strategy, memory in self._each:
            found = strategy.stepped(self.stage, memory, optimizer)
            said |= self._numbers(strategy, "stepped", found, (*LOGGED, *said))
        return said

    def end(self) -> dict[str, Memory]:
        """What each leaves to the next stage, by its name."""
        left = {
            strategy.name: _tensors(strategy, "end", strategy.end(self.stage, memory))
            for strategy, memory in self._each
        }
        return {name: tensors for name, tensors in left.items() if tensors}

    @property
    def memory(self) -> Memory:
        """All of theirs, in one mapping."""
        return {
            f"{strategy.name}/{name}": tensor
            for strategy, memory in self._each
            for name, tensor in _tensors(strategy, "memory", memory).items()
        }

    def recall(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Take up what `memory` held when the checkpoint was written."""
        memories = {strategy.name: memory for strategy, memory in self._each}
        for place, tensor in kept.items():
            owner, _, name = place.partition("/")
            if name:
                memories[owner][name] = tensor.to(self.stage.policy.device)

    def _numbers(self, strategy: Strategy, hook: str, found: Any, taken: Collection[str]) -> dict[str, float]:
        """
        Args:
            taken: names of what the log holds already, which would be replaced.
        """
        named = isinstance(found, Mapping) and all(isinstance(name, str) for name in found)
        _check(strategy, hook, found, named or found is None, "numbers by name")
        if twice := [name for name in found or () if name in taken]:
            raise HoldfastError(
                f"{strategy.kind}: `{hook}` gave '{twice[0]}', which the training log has already; call it "
                f"otherwise, such as {strategy.name}_{twice[0]}."
            )
        numbers = {name: _number(strategy, hook, number) for name, number in (found or {}).items()}
        if plugins.is_reference(strategy.kind):
            self.own |= dict.fromkeys(numbers, f"{strategy.kind}: `{hook}`")
        return numbers


def _is_item(found: Any) -> bool:
    pair = isinstance(found, tuple) and len(found) == 2
    return pair and isinstance(found[0], Task) and isinstance(found[1], Example)


def _number(strategy: Strategy, hook: str, found: Any) -> float:
    number = plugins.plain_number(found)
    plain = isinstance(number, float) or (type(number) is int and abs(number) <= sys.float_info.max)
    _check(strategy, hook, found, plain, "a number")
    return float(number)


def _tensors(strategy: Strategy, hook: str, found: Any) -> Memory:
    named = isinstance(found, Mapping) and all(isinstance(name, str) for name in found)
    whole = named and all(
        isinstance(tensor, torch.Tensor) and not tensor.is_meta and tensor.layout == torch.strided
        for tensor in found.values()
    )
    _check(strategy, hook, found, whole or found is None, "dense tensors by name")
    return dict(found or {})


def _check(strategy: Strategy, hook: str, found: object, fits: bool, wanted: str) -> None:
    if not fits:
        raise HoldfastError(f"{strategy.kind}: `{hook}` gave {plugins.shown(found)}; it must give {wanted}.")
