"""Evaluation: free generation on a task's examples, graded, one record a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from holdfast.forgetting.results import Record, make_record
from holdfast.policy.rollouts import roll_out
from holdfast.policy.settings import Sampling
from holdfast.rng import torch_stream
from holdfast.tasks.example import Example
from holdfast.tasks.grading import Grade
from holdfast.tasks.prompts import Style
from holdfast.tasks.task import Task

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy

EVALUATION_VERSION = 1  # raise when records change for the same model and examples


def evaluate(
    policy: Policy,
    task: Task,
    examples: Sequence[Example],
    *,
    style: Style,
    templates: Mapping[Style, str],
    sampling: Sampling,
    stream: tuple[object, ...],
    batch: int,
    on_step: Callable[[int, int, dict[str, float]], None],
) -> list[Record]:
    """Let the policy answer each example once, and grade it.

    Returns:
        A record an example, in order.
    """
    records: list[Record] = []
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        rollouts = roll_out(
            policy,
            [(task, example) for example in part],
            style=style,
            templates=templates,
            sampling=sampling,
            group_size=1,
            generator=torch_stream(*stream, start, device=str(policy.device)),
        )
        lengths = rollouts.completions.mask_BGR.sum(-1)[:, 0].tolist()
        finished = rollouts.completions.finished_BG[:, 0].tolist()
        for index, example in enumerate(part):
            grade = Grade(
                rollouts.answers[index][0],
                rollouts.scores_BG[index, 0].item(),
                rollouts.formats_BG[index, 0].item(),
            )
            response = rollouts.texts[index][0]
            records.append(make_record(task, example, response, grade, lengths[index], finished[index]))
        mean = sum(record["score"] for record in records) / len(records)
        on_step(len(records), len(examples), {"accuracy": mean})
    return records
