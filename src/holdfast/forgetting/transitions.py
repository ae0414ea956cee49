"""Sample-level forgetting: which items went from right to wrong, and back, and why.

An average that does not move can hide many items lost and as many gained. For an old task the
comparison is between just after training on it and the end; for a general benchmark between the
base and the end. An item counts as right when its score is at least one half.

A lost item whose final answer the lenient rule still accepts (another way of writing the same
answer) lost the *convention*; otherwise the *knowledge* is lost, as far as the answer tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.forgetting.matrix import task_scores
from holdfast.forgetting.results import MethodRun, Results

RIGHT = 0.5


@dataclass(frozen=True)
class Transitions:
    """Shares of a task's test items, 0..1, mean over seeds.

    Attributes:
        task: its name.
        since: the stage it is compared from (0 is the base).
        kept: right before and at the end.
        lost: right before, wrong at the end.
        gained: wrong before, right at the end.
        lost_convention: part of `lost`: right at the end by the lenient rule.
        lost_knowledge: part of `lost`: wrong by either rule.
    """

    task: str
    since: int
    kept: float
    lost: float
    gained: float
    lost_convention: float
    lost_knowledge: float


def transitions(runs: Sequence[MethodRun], results: Results) -> list[Transitions]:
    """One entry per old task of the sequence and per general benchmark, over one method's seeds.

    Tasks without both cells in any seed are left out: an unfinished run has no end to compare with.
    """
    joint = runs[0].joint
    old = [] if joint else results.order_of(runs[0])[:-1]
    compared = [(task, results.learned_at(runs[0], task)) for task in (*old, *results.general)]
    found = []
    for task, since in compared:
        per_seed = [_of_run(run, task, since, results.last_stage(run)) for run in runs]
        present = [shares for shares in per_seed if shares is not None]
        if present:
            found.append(Transitions(task, since, *np.mean(present, axis=0).tolist()))
    return found


def _of_run(run: MethodRun, task: str, since: int, end: int) -> tuple[float, ...] | None:
    if not (run.cells.get((since, task)) and run.cells.get((end, task))):
        return None
    right_SN = task_scores(run, task, end + 1) >= RIGHT
    lenient_N = task_scores(run, task, end + 1, "lenient")[end] >= RIGHT
    before_N, after_N = right_SN[since], right_SN[end]
    lost_N = before_N & ~after_N
    shares = (before_N & after_N, lost_N, ~before_N & after_N, lost_N & lenient_N, lost_N & ~lenient_N)
    return tuple(float(share.mean()) for share in shares)
