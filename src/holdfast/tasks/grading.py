"""Grading one response: the same for roll-outs, evaluation and answers that a server generated."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.tasks.example import Example
from holdfast.tasks.prompts import Style
from holdfast.tasks.scoring import extract_answer, format_score
from holdfast.tasks.task import Task


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


def grade(task: Task, example: Example, response: str, style: Style) -> Grade:
    """Extract the answer, score it, check the form."""
    answer = extract_answer(response, style)
    return Grade(answer, task.score(answer, example), format_score(response, style))
