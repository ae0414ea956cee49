"""The learning loop, one for every paradigm: collect groups, take their log-probabilities, step."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from holdfast.errors import HoldfastError
from holdfast.files import read_log, write_jsonl
from holdfast.generate.rollouts import Item
from holdfast.learning.budget import EnergyMeter
from holdfast.learning.checkpoint import load_checkpoint, save_checkpoint
from holdfast.learning.objectives import RFT, SFT, Groups, LossSums, item_names
from holdfast.learning.optimizer import learning_rate, make_optimizer
from holdfast.learning.sampled_targets import SampledSFT
from holdfast.learning.settings import Method
from holdfast.policy.drawing import NotFiniteError
from holdfast.rng import stream as named_stream
from holdfast.tasks.prompts import Style

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference

LEARNER_VERSION = 1  # raise when a stage's result changes for the same settings
TOLERATED_SKIPS = 3  # iterations in a row without a finite gradient
log = logging.getLogger(__name__)

Objective = SFT | SampledSFT | RFT


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
    hint: str = "",
) -> dict[str, float]:
    """Train `policy` in place on `items`.

    Writes `folder/metrics.jsonl`, a row an iteration, and a checkpoint in `folder/checkpoint` every
    `checkpoint_every` iterations; called again with the same folder (and the policy as it was at
    the start of the stage) it goes on from there, to the same bits.

    Args:
        stream: names of the random streams this stage draws from.
        load_base: gives the untouched base model, for a KL penalty towards it or targets it writes.
        on_step: told the iterations done, their total, and the metrics row.
        hint: the question with its answer shown, for `method.show_answer`.

    Returns:
        Totals: seconds, examples, completions and tokens learned from, prompt_tokens, sampled
        completions, flops, joules where they can be read, skipped steps.

    Raises:
        HoldfastError: log-probabilities or gradients are not finite several iterations in a row.
    """
    objective = make_objective(method, templates, policy, load_base, hint)
    optimizer = make_optimizer(policy.model, method)
    writer = objective if isinstance(objective, SampledSFT) else None
    state = load_checkpoint(folder / "checkpoint", policy.model, optimizer) or {"iteration": 0, "totals": {}}
    if writer is not None:
        writer.recall(policy, state.get("memory", {}))
    skips: int = state.get("skips", 0)  # in a row; older checkpoints do not say
    totals: dict[str, float] = state["totals"]
    metrics = folder / "metrics.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(metrics, read_log(metrics, state["iteration"]))  # forget what is done again
    meter = EnergyMeter()
    for iteration in range(state["iteration"], iterations):
        started = time.perf_counter()
        batch = pick(items, method.batch, iteration, stream)
        if writer is not None:
            writer.begin(policy, iteration)
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
        ] or [{"skipped": float(groups is None)}]  # or nothing was left to learn from
        row = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        skips = skips + 1 if row["skipped"] == 1 else 0
        if skips >= TOLERATED_SKIPS:
            raise HoldfastError(
                f"The model's output or its gradient was not finite in {skips} iterations in a row (last: "
                f"{iteration}); lower learning_rate or clip_grad, or use dtype bfloat16 or float32."
            )
        seconds = time.perf_counter() - started
        spent = {} if groups is None else _spent(policy, groups)
        stats = {} if groups is None else groups.stats
        speed = {"tokens_per_s": spent.get("tokens", 0) / seconds, "seconds": seconds}
        row = {"step": iteration, **stats, **row, **speed}
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        amounts = {"seconds": seconds, "examples": len(batch), "skipped": row["skipped"]} | spent
        if (joules := meter.joules()) is not None:
            amounts["joules"] = joules
        for key, amount in amounts.items():
            totals[key] = totals.get(key, 0) + amount
        done = iteration + 1
        if done % checkpoint_every == 0 and done < iterations:
            state = {"iteration": done, "totals": totals, "skips": skips}
            memory = {} if writer is None else writer.memory
            save_checkpoint(folder / "checkpoint", policy.model, optimizer, state, memory)
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
    try:
        return objective.collect(policy, batch, stream)
    except NotFiniteError as error:
        log.warning("An iteration is skipped for %s. %s", item_names(batch)[error.index], error)
        return None


def make_objective(
    method: Method,
    templates: Mapping[Style, str],
    policy: Policy,
    load_base: Callable[[], Policy],
    hint: str = "",
) -> Objective:
    """The method's objective; `policy` stands at the start of the stage."""

    def past(which: str) -> Policy | Reference:
        if which == "stage_start":
            return policy.snapshot()
        return policy.without_adapters() if policy.adapted else load_base()

    if method.objective != "sft":
        return RFT(method, templates, past(method.kl_reference) if method.kl_coef else None)
    if method.target != "sampled":
        return SFT(method, templates)
    writer = None if method.resample_every == 1 else past(method.sampled_by)
    return SampledSFT(method, templates, writer, hint if method.show_answer else None)


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
