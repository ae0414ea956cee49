"""Grading one response: the same for roll-outs, evaluation and answers that a server generated.

A *score* says whether the answer is right. The *reward* that RFT learns from adds the format. Filters and
reports use scores, learners use rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast import plugins
from holdfast.tasks.example import Example
from holdfast.tasks.prompts import Style
from holdfast.tasks.scorers.options import beside_the_box
from holdfast.tasks.scoring import extract_answer, format_score
from holdfast.tasks.task import Task

# The study's reward (arXiv 2507.05386, released reward function).
REWARDS: dict[Style, dict[str, float]] = {
    "cot": {"accuracy": 0.9, "format": 0.1},
    "direct": {"accuracy": 1.0},
}


@dataclass(frozen=True)
class Grade:
    """What a response is worth.

    Attributes:
        answer: extracted from it, or None.
        score: is the answer right, 0..1, by the task's rule.
        format: 1.0 when the response has the form its prompt style asks for, else 0.0.
    """

    answer: str | None
    score: float
    format: float


def grade(task: Task, example: Example, response: str, style: Style, opened: bool = False) -> Grade:
    """Extract the answer, score it, check the form.

    Args:
        opened: the prompt ends in `<think>`, or it is not known whether it does.
    """
    answer = extract_answer(response, style)
    if answer is not None:
        answer = beside_the_box(task.scorer, answer, response, example.choices)
    return Grade(answer, task.score(answer, example), format_score(response, style, opened))


def parts_of(
    grade: Grade, response: str, example: Example, style: Style, parts: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The parts of a reward, before they are weighed.

    Args:
        parts: weights of `accuracy`, `format`, and functions of the user's (`rules.py:brevity`), which get
            the response and its Example and return a number from -1 to 1. None: the study's (`REWARDS`).

    Raises:
        HoldfastError: a function of the user's failed, took too long, or returned something else.
    """
    values = {}
    for part in REWARDS[style] if parts is None else parts:
        if part in ("accuracy", "format"):
            values[part] = grade.score if part == "accuracy" else grade.format
        else:
            values[part] = plugins.call_for_number(
                part, response, example, about=f"the response to {example.id}", least=-1, most=1
            )
    return values


def weighed(values: Mapping[str, float], style: Style, parts: Mapping[str, float] | None = None) -> float:
    """What RFT maximises: the sum of parts, each times its weight (`parts_of`)."""
    weights, total = REWARDS[style] if parts is None else parts, 0.0
    # Not `sum`, which rounds otherwise from Python 3.12 on.
    for part, value in values.items():
        total += weights[part] * value
    return total
