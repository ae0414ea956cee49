"""The learning loop, one for every way of learning.

An iteration picks a batch, has the objective collect groups of completions for it, and takes the method's
optimiser steps on them (`step.py`). Strategies against forgetting may change each of these.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from holdfast.errors import HoldfastError
from holdfast.generate.rollouts import Item
from holdfast.learning.checkpoint import DamagedCheckpoint, load_checkpoint, save_checkpoint
from holdfast.learning.curve import Curve
from holdfast.learning.groups import Groups, naming
from holdfast.learning.methods import Method
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.partition import Partition
from holdfast.learning.retention.running import Strategies
from holdfast.learning.schedule import learning_rate
from holdfast.learning.spent import EnergyMeter
from holdfast.learning.stage import Stage
from holdfast.learning.step import step
from holdfast.policy.batch import NotFiniteError
from holdfast.rng import stream as named_stream

if TYPE_CHECKING:
    from holdfast.generate.evaluate import OnStep
    from holdfast.policy.policy import Policy

TOLERATED_SKIPS = 3  # iterations in a row without a finite gradient
_CALMER = "lower learning_rate or clip_grad, or use dtype bfloat16 or float32"
log = logging.getLogger(__name__)


def learn(
    stage: Stage,
    *,
    folder: Path,
    checkpoint_every: int,
    on_step: OnStep,
    on_damage: Callable[[str], object] = log.warning,
) -> tuple[dict[str, float], dict[str, dict[str, torch.Tensor]]]:
    """Train the stage's policy in place on its items.

    Writes `folder/metrics.jsonl`, a row an iteration, and a checkpoint in `folder/checkpoint` every
    `checkpoint_every` iterations; called again with the same folder (and the policy as it was at
    the start of the stage) it goes on from there, to the same bits.

    Args:
        on_step: told the iterations done, their total, and the metrics row.
        on_damage: told why a checkpoint cannot be used; the stage then begins anew.

    Returns:
        Totals: seconds, examples, completions and tokens learned from, prompt_tokens, sampled
        completions, flops, joules where they can be read, skipped steps. And what each strategy of
        `method.retention` leaves to the next stage, by its name.

    Raises:
        HoldfastError: log-probabilities or gradients are not finite several iterations in a row, weights or
            metrics are not, or the objective found nothing to learn from.
    """
    training = _Training(stage, folder, on_damage)
    while training.done < stage.iterations:
        row = training.iterate()
        if training.done % checkpoint_every == 0 and training.done < stage.iterations:
            training.save()
        on_step(training.done, stage.iterations, row)
    left = training.finish()
    return training.totals, left


class _Training:
    """A stage while it is learned.

    Attributes:
        done: iterations that are learned, those of the process before a kill included.
        totals: what they took, as `learn` returns it.
        skips: iterations in a row, up to now, without a step.
    """

    def __init__(self, stage: Stage, folder: Path, on_damage: Callable[[str], object]) -> None:
        policy, method = stage.policy, stage.method
        self.stage = stage
        policy.share(method.shards, stage.team, stage.shard == "full")
        self.objective = method.make(stage)
        self.optimizer = make_optimizer(policy.model, method, stage.stream)
        self.partition = Partition(self.optimizer, stage.team, stage.shard, policy.shards.holds)
        self.strategies = Strategies(replace(stage, objective=self.objective))
        folder.mkdir(parents=True, exist_ok=True)
        self.curve = Curve(folder / "metrics.jsonl", writes=stage.team.leads)
        self.checkpoint = folder / "checkpoint"
        self.done, self.totals, self.skips = 0, dict[str, float](), 0
        self._resume(on_damage)
        self.meter = EnergyMeter()

    def _resume(self, on_damage: Callable[[str], object]) -> None:
        """Go on from the checkpoint, if there is one that can be used."""
        policy, team = self.stage.policy, self.stage.team
        try:
            state = load_checkpoint(self.checkpoint, policy.model, self.optimizer, self.curve, self.partition)
        except DamagedCheckpoint as error:
            damage = str(error)
            team.agreed(lambda: on_damage(damage))
            state = None
        memory: dict[str, torch.Tensor] = {}
        if state is None:
            self.curve.begin()
        else:
            self.done, self.totals, self.skips = state["iteration"], state["totals"], state["skips"]
            memory = state["memory"]
        self.objective.recall(policy, {name: tensor for name, tensor in memory.items() if "/" not in name})
        self.strategies.recall(memory)
        if self.done:
            self.stage.taken()  # by `begin` of strategies: it is in the totals already

    def iterate(self) -> dict[str, float]:
        """Learn from the next batch; the row of the learning curve."""
        started, iteration = time.perf_counter(), self.done
        batch = self.strategies.batch(self._picked(iteration), iteration)
        groups = self._collected(batch)
        if iteration + 1 < self.stage.iterations:  # decoded while the device learns
            self.stage.policy.prepare([example.images for _, example in self._picked(iteration + 1)])
        row = self._steps(batch, groups)
        seconds = time.perf_counter() - started
        spent = {} if groups is None else _spent(self.stage.policy, groups)
        stats = {} if groups is None else groups.stats
        speed = {"tokens_per_s": spent.get("tokens", 0) / seconds, "seconds": seconds}
        row = {"step": iteration, **stats, **row, **speed}
        check_metrics(row, self.strategies.own)
        self.curve.add(row)
        amounts = {"seconds": seconds, "examples": len(batch), "skipped": row["skipped"]} | spent
        _add(amounts, self.stage.taken())
        if (joules := self.meter.joules()) is not None:
            amounts["joules"] = joules
        _add(self.totals, amounts)
        self.done += 1
        return row

    def _picked(self, iteration: int) -> list[Item]:
        return pick(self.stage.items, self.stage.method.batch, iteration, self.stage.stream)

    def _collected(self, batch: Sequence[Item]) -> Groups | None:
        """What the iteration learns from; None, after a warning, where the policy's output is not finite."""
        policy, objective = self.stage.policy, self.objective
        objective.begin(policy, self.done)
        try:
            with naming(batch):
                groups = objective.collect(policy, batch, (*self.stage.stream, self.done))
        except NotFiniteError as error:
            log.warning("An iteration is skipped for %s. %s", error.name, error)
            return None
        groups = objective.chosen(self.strategies.collected(groups))
        policy.check(groups.prompts, groups.completions)
        return groups

    def _steps(self, batch: Sequence[Item], groups: Groups | None) -> dict[str, float]:
        """The optimiser steps of an iteration; the means of their rows, over those that were made.

        Raises:
            HoldfastError: this and the iterations before it had no finite gradient.
        """
        policy, method = self.stage.policy, self.stage.method
        parts: Iterable[Groups] = () if groups is None else groups.split(_step_size(method, batch, groups))
        steps = self.stage.iterations * method.updates
        rows = []
        for number, part in enumerate(parts, self.done * method.updates):
            rate = learning_rate(method, number, steps)
            rows.append(step(policy, self.objective, self.optimizer, part, method, rate, self.strategies))
        rows = rows or [{"skipped": float(groups is None)}]  # or nothing was left to learn from
        row = _mean([row for row in rows if not row["skipped"]] or rows) | {"skipped": _mean(rows)["skipped"]}
        self.skips = self.skips + 1 if row["skipped"] == 1 else 0
        if self.skips >= TOLERATED_SKIPS:
            raise HoldfastError(
                f"The model's output or its gradient was not finite in {self.skips} iterations in a row "
                f"(last: {self.done}); {_CALMER}."
            )
        return row

    def save(self) -> None:
        """Replace the checkpoint by one from which the stage goes on to the same bits."""
        policy, team = self.stage.policy, self.stage.team
        self._check_weights()
        state = {"iteration": self.done, "totals": self.totals, "skips": self.skips}
        memory = {**self.objective.memory, **self.strategies.memory}
        saved = (self.checkpoint, policy.model, self.optimizer, state, memory, self.curve, self.partition)
        team.do(partial(save_checkpoint, *saved))

    def finish(self) -> dict[str, dict[str, torch.Tensor]]:
        """After the last iteration: what each strategy leaves to the next stage, by its name."""
        self.objective.finish(self.totals)
        left = self.strategies.end()
        self._check_weights()
        self.stage.policy.share()
        _add(self.totals, self.stage.taken())
        return left

    def _check_weights(self) -> None:
        """See that weights are finite, and the same on all ranks.

        Raises:
            HoldfastError: naming the first that is not.
        """
        policy = self.stage.policy
        self.stage.team.do(partial(check_weights, policy))
        policy.shards.check_alike(policy.model)


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each number over the steps of an iteration; where one lacks it, it is 0."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: sum(row.get(key, 0.0) for row in rows) / len(rows) for key in keys}


def _add(sums: dict[str, float], amounts: Mapping[str, float]) -> None:
    for key, amount in amounts.items():
        sums[key] = sums.get(key, 0) + amount


def check_metrics(row: Mapping[str, float], own: Mapping[str, str] | None = None) -> None:
    """Keep what is not a number out of a curve.

    Args:
        own: whose of the user's code a number is, by its name.

    Raises:
        HoldfastError: naming the quantity.
    """
    for name, value in row.items():
        if not math.isfinite(value):
            if own and name in own:
                raise HoldfastError(
                    f"{own[name]} gave {value} as '{name}' in iteration {row['step']}; it must be finite."
                )
            raise HoldfastError(f"'{name}' is not finite in iteration {row['step']}; {_CALMER}.")


def check_weights(policy: Policy) -> None:
    """Keep weights that diverged, which no later step mends, out of checkpoints and results.

    Raises:
        HoldfastError: naming the first that is not finite.
    """
    for name, parameter in policy.trained().items():
        if not torch.isfinite(parameter).all():
            raise HoldfastError(f"The weights have diverged: {name} is not finite; {_CALMER}.")


def pick(items: Sequence[Item], size: int, iteration: int, stream: tuple[object, ...]) -> list[Item]:
    """The batch of an iteration: epochs without replacement, each in an order of its own."""
    batch: list[Item] = []
    position = iteration * size
    while len(batch) < size:
        epoch, offset = divmod(position + len(batch), len(items))
        order = _order(len(items), epoch, stream)
        batch += [items[index] for index in order[offset : offset + size - len(batch)]]
    return batch


@lru_cache(2)  # of this epoch and the next
def _order(count: int, epoch: int, stream: tuple[object, ...]) -> list[int]:
    order = list(range(count))
    named_stream(*stream, "order", epoch).shuffle(order)
    return order


def _step_size(method: Method, batch: Sequence[Item], groups: Groups) -> int:
    """Prompts of one step: a batch of any size, as code of the user's may make it, has at most `updates`."""
    return math.ceil(max(len(batch), len(groups.prompts)) / method.updates)


def _spent(policy: Policy, groups: Groups) -> dict[str, float]:
    """Amounts of one iteration, learning included."""
    mask_BGR = groups.completions.mask_BGR
    return {
        "completions": mask_BGR.shape[0] * mask_BGR.shape[1],
        "tokens": int(mask_BGR.sum()),
        "prompt_tokens": int(groups.prompts.lengths_B.sum()),
        "sampled": groups.spent.completions,
        "sampled_tokens": groups.spent.sampled_tokens,
        "flops": groups.spent.flops + policy.operations.training(groups.prompts, groups.completions),
    }
