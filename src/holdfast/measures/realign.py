"""The re-alignment probe: what a few steps on a handful of old examples bring back.

Knowledge that is gone does not come back from eight examples; an output format or a convention that was
overwritten does. The steps are taken on the policy itself, whose weights are put back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from holdfast.errors import InputError
from holdfast.generate.evaluate import evaluate
from holdfast.generate.generator import Asking
from holdfast.generate.local import LocalGenerator
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.methods import SFT
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.step import step
from holdfast.tasks.example import Example
from holdfast.tasks.prompts import Target
from holdfast.tasks.scoring import RIGHT
from holdfast.tasks.task import Task

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


def realign(
    policy: Policy,
    task: Task,
    train: Sequence[Example],
    test: Sequence[Example],
    asking: Asking,
    *,
    steps: int,
    learning_rate: float,
) -> dict[str, Any]:
    """Accuracy on `test` before and after a few steps of SFT on `train`.

    What SFT writes is `reasoned` where style is cot and every example has a rationale, else `answer`. The
    optimiser is a new AdamW without weight decay; every step sees all of `train`. The policy is
    put back to the bit. Memory: the optimiser's, and a copy of the trained weights.

    Args:
        train: a handful of the old task's examples, none of them in `test`.
        asking: of both evaluations, which draw the same numbers.

    Returns:
        task, examples, steps, learning_rate, target, items (of the test); before, after (mean
        score); recovered (items wrong before and right after), lost_again (right before and wrong
        after); loss_first, loss_last (token mean of the first and last step's loss); skipped (steps
        whose gradient was not finite).

    Raises:
        InputError: an example stands in both.
    """
    both = {example.id for example in train} & {example.id for example in test}
    if both:
        raise InputError(f"The probe on {task.name} would test on what it trains on: {sorted(both)[0]}.")
    style = asking.style
    reasons = style == "cot" and all(example.rationale for example in train)
    target: Target = "reasoned" if reasons else "answer"
    method = SFT(
        objective="sft",
        style=style,
        target=target,
        batch=len(train),
        learning_rate=learning_rate,
        weight_decay=0.0,
    )

    def scores() -> list[float]:
        records = evaluate(LocalGenerator(policy), task, test, asking)
        return [record["score"] for record in records]

    before = scores()
    with _put_back(policy):
        objective, optimizer = Likelihood(method, asking.templates), make_optimizer(policy.model, method)
        groups = objective.collect(policy, [(task, example) for example in train], ())
        rows = [step(policy, objective, optimizer, groups, method, learning_rate) for _ in range(steps)]
        after = scores()
    right = [(one >= RIGHT, two >= RIGHT) for one, two in zip(before, after, strict=True)]
    return {
        "task": task.name,
        "examples": len(train),
        "steps": steps,
        "learning_rate": learning_rate,
        "target": target,
        "items": len(test),
        "before": sum(before) / len(before),
        "after": sum(after) / len(after),
        "recovered": right.count((False, True)),
        "lost_again": right.count((True, False)),
        "loss_first": rows[0]["loss"],
        "loss_last": rows[-1]["loss"],
        "skipped": round(sum(row["skipped"] for row in rows)),
    }


@contextmanager
def _put_back(policy: Policy) -> Iterator[None]:
    """After the block the trained weights are what they were before it, to the bit; gradients are gone."""
    start, was_training = policy.snapshot().weights, policy.model.training
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in policy.trained().items():
                parameter.copy_(start[name])
        policy.model.zero_grad(set_to_none=True)
        policy.model.train(was_training)
