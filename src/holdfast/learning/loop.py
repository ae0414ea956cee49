"""The learning loop, one for every paradigm: collect groups, take their log-probabilities, step."""

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
from holdfast.learning.budget import EnergyMeter
from holdfast.learning.checkpoint import DamagedCheckpoint, load_checkpoint, save_checkpoint
from holdfast.learning.curve import Curve
from holdfast.learning.groups import Groups, naming
from holdfast.learning.methods import Method
from holdfast.learning.objectives import LossSums, Objective
from holdfast.learning.optimizer import add_up_in_float32, clip, make_optimizer
from holdfast.learning.partition import Partition
from holdfast.learning.retention.running import Strategies
from holdfast.learning.schedule import learning_rate
from holdfast.learning.stage import Stage
from holdfast.policy.batch import NotFiniteError
from holdfast.policy.gradients import trained_parameters
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
    policy, method, iterations, team = stage.policy, stage.method, stage.iterations, stage.team
    steps, place = iterations * method.updates, folder / "checkpoint"
    policy.share(method.shards, team, stage.shard == "full")
    objective = method.make(stage)
    optimizer = make_optimizer(policy.model, method, stage.stream)
    partition = Partition(optimizer, team, stage.shard, policy.shards.holds)
    strategies = Strategies(replace(stage, objective=objective))
    folder.mkdir(parents=True, exist_ok=True)
    curve = Curve(folder / "metrics.jsonl", writes=team.leads)
    try:
        state = load_checkpoint(place, policy.model, optimizer, curve, partition)
    except DamagedCheckpoint as error:
        damage = str(error)
        team.agreed(lambda: on_damage(damage))
        state = None
    if state is None:
        curve.begin()
        state = {"iteration": 0, "totals": {}, "skips": 0}
    kept: dict[str, torch.Tensor] = state.get("memory", {})
    objective.recall(policy, {name: tensor for name, tensor in kept.items() if "/" not in name})
    strategies.recall(kept)
    if state["iteration"]:
        stage.taken()  # by `begin`, and in the totals
    skips: int = state["skips"]  # in a row
    totals: dict[str, float] = state["totals"]
    meter = EnergyMeter()

    for iteration in range(state["iteration"], iterations):
        started = time.perf_counter()
        batch = strategies.batch(pick(stage.items, method.batch, iteration, stage.stream), iteration)
        objective.begin(policy, iteration)
        groups = collect(policy, objective, batch, (*stage.stream, iteration))
        if groups is not None:
            groups = objective.chosen(strategies.collected(groups))
            policy.check(groups.prompts, groups.completions)
        if iteration + 1 < iterations:  # decoded while the device learns
            coming = pick(stage.items, method.batch, iteration + 1, stage.stream)
            policy.prepare([example.images for _, example in coming])
        parts: Iterable[Groups] = () if groups is None else groups.split(_step_size(method, batch, groups))
        rows = [
            step(policy, objective, optimizer, part, method, learning_rate(method, number, steps), strategies)
            for number, part in enumerate(parts, iteration * method.updates)
        ] or [{"skipped": float(groups is None)}]  # or nothing was left to learn from
        row = _mean([row for row in rows if not row["skipped"]] or rows) | {"skipped": _mean(rows)["skipped"]}
        skips = skips + 1 if row["skipped"] == 1 else 0
        if skips >= TOLERATED_SKIPS:
            raise HoldfastError(
                f"The model's output or its gradient was not finite in {skips} iterations in a row (last: "
                f"{iteration}); {_CALMER}."
            )
        seconds = time.perf_counter() - started
        spent = {} if groups is None else _spent(policy, groups)
        stats = {} if groups is None else groups.stats
        speed = {"tokens_per_s": spent.get("tokens", 0) / seconds, "seconds": seconds}
        row = {"step": iteration, **stats, **row, **speed}
        check_metrics(row, strategies.own)
        curve.add(row)
        amounts = {"seconds": seconds, "examples": len(batch), "skipped": row["skipped"]} | spent
        _add(amounts, stage.taken())
        if (joules := meter.joules()) is not None:
            amounts["joules"] = joules
        _add(totals, amounts)
        done = iteration + 1
        if done % checkpoint_every == 0 and done < iterations:
            state = {"iteration": done, "totals": totals, "skips": skips}
            team.do(partial(check_weights, policy))
            policy.shards.check_alike(policy.model)
            kept = {**objective.memory, **strategies.memory}
            team.do(partial(save_checkpoint, place, policy.model, optimizer, state, kept, curve, partition))
        on_step(done, iterations, row)
    objective.finish(totals)
    left = strategies.end()
    team.do(partial(check_weights, policy))
    policy.shards.check_alike(policy.model)
    policy.share()
    _add(totals, stage.taken())
    return totals, left


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


def collect(
    policy: Policy, objective: Objective, batch: Sequence[Item], stream: tuple[object, ...]
) -> Groups | None:
    """The groups of an iteration; None, after a warning, where the policy's output is not finite."""
    try:
        with naming(batch):
            return objective.collect(policy, batch, stream)
    except NotFiniteError as error:
        log.warning("An iteration is skipped for %s. %s", error.name, error)
        return None


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


def to_pass(objective: Objective, groups: Groups) -> list[int]:
    """The rows that a step passes through the model: those that teach, and where none does, the first.

    One with a picture, too, where there is one: else the tower had no gradient in place of zeros, and the
    optimiser would pass it over, decay and momentum included. All, where prompts were computed in sampling,
    and leaving rows out would save less than that; else what sampling computed is let go of.
    """
    rows, pictures = objective.teaching(groups) or [0], groups.prompts.images
    if any(pictures) and not any(pictures[row] for row in rows):
        rows = sorted([*rows, list(map(bool, pictures)).index(True)])
    if groups.prefill is not None:
        if 3 * len(rows) > 2 * len(groups.prompts):  # a pass back costs two forward
            return list(range(len(groups.prompts)))
        groups.prefill.release()
    return rows


def step(
    policy: Policy,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    groups: Groups,
    method: Method,
    rate: float,
    strategies: Strategies | None = None,
) -> dict[str, float]:
    """One optimiser step: the mean of the loss, its gradient changed by strategies and clipped by norm.

    A step whose log-probabilities, loss or gradient are not finite leaves the weights alone and says
    `skipped`; a warning names the example whose log-probabilities they are.
    """
    tokens, groups = groups.completions.mask_BGR.sum().item(), objective.weighed(groups)
    trained, places = trained_parameters(policy), to_pass(objective, groups)
    taught = groups.rows(places)
    costs = taught.computed() if policy.shards.count > 1 else [1] * len(places)  # one shard has them all

    def gradients(shard: range) -> list[LossSums]:
        own = taught.rows(shard)

        def parts() -> list[LossSums]:
            optimizer.zero_grad(set_to_none=True)
            sums = list[LossSums]()
            parts = own.within(policy.budget, method.micro_batch)
            add_up_in_float32(trained, len(parts) * policy.shards.count)
            for number, rows in enumerate(parts, 1):
                policy.shards.last = number == len(parts)
                try:
                    sums.append(objective.loss(policy, own.rows(rows)))
                except NotFiniteError as error:
                    raise NotFiniteError(shard.start + rows.start + error.index) from error
                (sums[-1].loss / tokens).backward()
            return sums

        return policy.budget.attempt(parts)

    sums: list[LossSums] = []
    try:
        for of_shard in policy.shards.gradients(trained, costs, gradients):
            sums += of_shard
        if taught is not groups:
            sums.insert(0, LossSums(torch.zeros(()), groups.drawn_entropy(besides=places)))
    except NotFiniteError as error:
        log.warning("A step is skipped for %s. %s", groups.name(places[error.index]), error)
    said = strategies.gradient(groups) if strategies and sums else {}
    norm = clip(trained, method.clip_grad, policy.shards)
    loss = sum(part.loss.item() for part in sums) / tokens
    finite = bool(sums) and math.isfinite(norm) and math.isfinite(loss)
    if finite:
        rate = strategies.rate(rate, loss) if strategies else rate
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        said |= strategies.stepped(optimizer) if strategies else {}
    row = {
        "loss": loss if finite else 0.0,
        "entropy": sum(part.entropy for part in sums) / tokens,
        "grad_norm": norm if finite else 0.0,
        "learning_rate": rate,
        "skipped": float(not finite),
    }
    for name in ("kl", "clipped"):
        amounts = [amount for part in sums if (amount := getattr(part, name)) is not None]
        if amounts:
            row[name] = sum(amounts) / tokens
    row |= said
    return row if finite else {key: value if math.isfinite(value) else 0.0 for key, value in row.items()}
