"""The learning loop, one for every paradigm: collect groups, take their log-probabilities, step."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from holdfast.errors import HoldfastError
from holdfast.files import read_log, write_jsonl
from holdfast.learning.checkpoint import load_checkpoint, save_checkpoint
from holdfast.learning.objectives import Groups, LossSums, Objective, make_objective
from holdfast.learning.optimizer import learning_rate, make_optimizer
from holdfast.learning.settings import Method
from holdfast.policy.drawing import NotFiniteError
from holdfast.policy.rollouts import Item
from holdfast.rng import stream as named_stream
from holdfast.tasks.prompts import Style

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy

LEARNER_VERSION = 1  # raise when a stage's result changes for the same settings
TOLERATED_SKIPS = 3  # iterations in a row without a finite gradient
log = logging.getLogger(__name__)


def learn(
    policy: Policy,
    items: Sequence[Item],
    method: Method,
    *,
    iterations: int,
    templates: Mapping[Style, str],
    stream: tuple[object, ...],
    folder: Path,
    checkpoint_every: int,
    load_base: Callable[[], Policy],
    on_step: Callable[[int, int, dict[str, float]], None],
) -> dict[str, float]:
    """Train `policy` in place on `items`.

    Writes `folder/metrics.jsonl`, a row an iteration, and a checkpoint in `folder/checkpoint` every
    `checkpoint_every` iterations; called again with the same folder (and the policy as it was at
    the start of the stage) it goes on from there, to the same bits.

    Args:
        stream: names of the random streams this stage draws from.
        load_base: gives the untouched base model, for a KL penalty towards it.
        on_step: told the iterations done, their total, and the metrics row.

    Returns:
        Totals: seconds, examples, completions, tokens (of completions), skipped steps.

    Raises:
        HoldfastError: log-probabilities or gradients are not finite several iterations in a row.
    """
    objective = make_objective(method, templates, policy, load_base)
    optimizer = make_optimizer(policy.model, method)
    state = load_checkpoint(folder / "checkpoint", policy.model, optimizer) or {"iteration": 0, "totals": {}}
    skips: int = state.get("skips", 0)  # in a row; older checkpoints do not say
    totals: dict[str, float] = state["totals"]
    metrics = folder / "metrics.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(metrics, read_log(metrics, state["iteration"]))  # forget what is done again
    for iteration in range(state["iteration"], iterations):
        started = time.perf_counter()
        batch = pick(items, method.batch, iteration, stream)
        groups = collect(policy, objective, batch, (*stream, iteration))
        parts: Iterable[Groups] = () if groups is None else groups.split(len(batch) // method.updates)
        rows = [
            step(
                policy,
                objective,
                optimizer,
                part,
                method,
                learning_rate(method, number, iterations * method.updates),
            )
            for number, part in enumerate(parts, iteration * method.updates)
        ] or [{"skipped": 1.0}]
        row = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        skips = skips + 1 if row["skipped"] == 1 else 0
        if skips >= TOLERATED_SKIPS:
            raise HoldfastError(
                f"The model's output or its gradient was not finite in {skips} iterations in a row (last: "
                f"{iteration}); lower learning_rate or clip_grad, or use dtype bfloat16 or float32."
            )
        seconds = time.perf_counter() - started
        tokens, completions, stats = 0, 0, {}
        if groups is not None:
            lengths_BG, stats = groups.completions.lengths_BG, dict(groups.stats)
            tokens, completions = int(lengths_BG.sum()), lengths_BG.numel()
        row = {"step": iteration, **stats, **row, "tokens_per_s": tokens / seconds, "seconds": seconds}
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for key, amount in (
            ("seconds", seconds),
            ("examples", len(batch)),
            ("completions", completions),
            ("tokens", tokens),
            ("skipped", row["skipped"]),
        ):
            totals[key] = totals.get(key, 0) + amount
        done = iteration + 1
        if done % checkpoint_every == 0 and done < iterations:
            state = {"iteration": done, "totals": totals, "skips": skips}
            save_checkpoint(folder / "checkpoint", policy.model, optimizer, state)
        on_step(done, iterations, row)
    return totals


def pick(items: Sequence[Item], size: int, iteration: int, stream: tuple[object, ...]) -> list[Item]:
    """The batch of an iteration: epochs without replacement, each in an order of its own."""
    batch: list[Item] = []
    position = iteration * size
    while len(batch) < size:
        epoch, offset = divmod(position + len(batch), len(items))
        order = list(range(len(items)))
        named_stream(*stream, "order", epoch).shuffle(order)
        batch += [items[index] for index in order[offset : offset + size - len(batch)]]
    return batch


def collect(
    policy: Policy, objective: Objective, batch: Sequence[Item], stream: tuple[object, ...]
) -> Groups | None:
    """The groups of an iteration; None, after a warning, where the policy's output is not finite."""
    names = tuple(f"{task.name} {example.id}" for task, example in batch)
    try:
        return replace(objective.collect(policy, batch, stream), names=names)
    except NotFiniteError as error:
        log.warning("An iteration is skipped for %s. %s", names[error.index], error)
        return None


def step(
    policy: Policy,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    groups: Groups,
    method: Method,
    rate: float,
) -> dict[str, float]:
    """One optimiser step: the token mean of the loss, its gradient clipped by norm.

    A step whose log-probabilities, loss or gradient are not finite leaves the weights alone and says
    `skipped`; a warning names the example whose log-probabilities they are.
    """
    tokens = groups.completions.mask_BGR.sum().item()

    def gradients() -> list[LossSums]:
        optimizer.zero_grad(set_to_none=True)
        sums: list[LossSums] = []
        for part in groups.within(policy.budget, method.micro_batch):
            try:
                sums.append(objective.loss(policy, part))
            except NotFiniteError as error:
                log.warning("A step is skipped for %s. %s", part.name(error.index), error)
                return []
            (sums[-1].loss / tokens).backward()
        return sums

    sums = policy.budget.attempt(gradients)
    norm = torch.nn.utils.clip_grad_norm_(
        [parameter for parameter in policy.model.parameters() if parameter.grad is not None], method.clip_grad
    ).item()
    loss = sum(part.loss.item() for part in sums) / tokens
    finite = bool(sums) and math.isfinite(norm) and math.isfinite(loss)
    if finite:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    row = {
        "loss": loss if finite else 0.0,
        "entropy": sum(part.entropy for part in sums) / tokens,
        "grad_norm": norm if finite else 0.0,
        "learning_rate": rate,
        "skipped": float(not finite),
    }
    if method.objective != "sft":
        row |= {
            "kl": sum(part.kl for part in sums) / tokens,
            "clipped": sum(part.clipped for part in sums) / tokens,
        }
    return row
