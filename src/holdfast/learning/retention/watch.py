"""Watching tasks: how well each is done now and was done at best, and which of its answers are right."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING

import torch

from holdfast.learning.retention.answers import Answers, as_groups
from holdfast.learning.retention.pool import Memory, keep_table, table
from holdfast.rng import seed
from holdfast.tasks.scoring import RIGHT

if TYPE_CHECKING:
    from holdfast.learning.objectives import Groups
    from holdfast.learning.stage import Stage

PACE = 0.3  # of the moving average
LEAST = 0.05  # weight of a task that has lost nothing


class Watch:
    """Level and peak of each earlier task, 0..1, as a memory holds them under `tasks`."""

    def __init__(self, memory: Memory) -> None:
        self._rows = table(memory, "tasks")

    def __contains__(self, task: str) -> bool:
        return seed("task", task) in self._rows

    def begin(self, task: str, level: float) -> None:
        """The task is done this well, and is watched from now on."""
        self._rows[seed("task", task)] = [level, level]

    def see(self, task: str, level: float) -> None:
        """It was done this well, in one example."""
        if task in self:
            now, peak = self._rows[seed("task", task)]
            now += PACE * (level - now)
            self._rows[seed("task", task)] = [now, max(now, peak)]

    def weight(self, task: str) -> float:
        """How much it has lost, and a little."""
        now, peak = self._rows[seed("task", task)]
        return max(peak - now, 0) + LEAST

    def keep(self, memory: Memory) -> None:
        """Put all into a memory."""
        keep_table(memory, "tasks", self._rows)


def right_answers(groups: Groups, rows: Iterable[int], draw: Random | None = None) -> list[tuple[int, int]]:
    """(row, member) of an answer that is right and whole, for each of these rows that has one.

    The first, or one that is drawn. What is not graded is right: targets, and answers chosen by others.
    """
    if groups.scores_BG is None:
        return [(row, 0) for row in rows]
    good_BG = (groups.scores_BG >= RIGHT) & groups.completions.finished_BG.cpu()
    found = []
    for row in rows:
        members = good_BG[row].nonzero().flatten().tolist()
        if members:
            found.append((row, draw.choice(members) if draw else members[0]))
    return found


def likelihoods(logprobs_BGR: torch.Tensor, groups: Groups) -> torch.Tensor:
    """The mean (geometric) probability of a token of each answer [B], of groups of one."""
    return (logprobs_BGR.sum(-1) / groups.completions.lengths_BG.clamp_min(1)).exp()[:, 0]


@torch.no_grad()
def level_of(stage: Stage, answers: Answers) -> float | None:
    """How likely the policy finds answers, on average; None without any."""
    if not answers:
        return None
    groups = as_groups(stage, answers)
    stage.spent["flops"] += stage.policy.operations.forward(groups.prompts, groups.completions)
    found = stage.policy.group_logprobs(groups.prompts, groups.completions).logprobs_BGR
    return float(likelihoods(found, groups).mean())
