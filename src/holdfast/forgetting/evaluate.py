"""Evaluation: free generation on a task's examples, graded, one record a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from holdfast.forgetting.results import Record, make_record
from holdfast.policy.rollouts import roll_out
from holdfast.policy.settings import Sampling
from holdfast.rng import torch_stream
from holdfast.rowlog import RowLog
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
    kept: RowLog | None = None,
) -> list[Record]:
    """Let the policy answer each example once, and grade it.

    Args:
        kept: records that a killed job has made already; new ones are added to it.

    Returns:
        A record an example, in order.
    """
    kept = kept or RowLog()
    for start in range(len(kept.rows), len(examples), batch):
        part = examples[start : start + batch]
        policy.prepare([example.images for example in examples[start + batch : start + 2 * batch]])
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
        records: list[Record] = []
        for index, example in enumerate(part):
            grade = Grade(
                rollouts.answers[index][0],
                rollouts.scores_BG[index, 0].item(),
                rollouts.formats_BG[index, 0].item(),
            )
            response = rollouts.texts[index][0]
            records.append(make_record(task, example, response, grade, lengths[index], finished[index]))
        kept.add(records)
        mean = sum(record["score"] for record in kept.rows) / len(kept.rows)
        on_step(len(kept.rows), len(examples), {"accuracy": mean})
    return kept.rows
