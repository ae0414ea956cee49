"""From records to accuracies: the scores of one task over the stages, and the accuracy matrix.

Axes: S stages (index 0 is the base), T tasks, N items of one task. What has not been computed is
NaN, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from holdfast.analysis.results import MethodRun, Record, Results
from holdfast.errors import HoldfastError


def item_ids(run: MethodRun, task: str) -> tuple[str, ...]:
    """Ids of the task's test items, which are the same in every stage; () if no cell is there.

    Raises:
        HoldfastError: two stages hold different items, or the same in another order.
    """
    first: tuple[str, ...] = ()
    first_stage = 0
    for stage, records in _cells_of(run, task):
        ids = tuple(record["id"] for record in records)
        if not first:
            first, first_stage = ids, stage
        elif ids != first:
            raise HoldfastError(
                f"Method {run.method}, seed {run.seed}: stages {first_stage} and {stage} were evaluated on "
                f"different items of {task} ({_difference(first, ids)}), so they cannot be compared. "
                "Evaluate all stages on the same test split."
            )
    return first


def check_items(runs: Iterable[MethodRun], tasks: Sequence[str]) -> dict[str, int]:
    """Number of test items per task, after checking that all runs hold the same ones in the same order.

    Raises:
        HoldfastError: they do not.
    """
    counts = dict.fromkeys(tasks, 0)
    for task in tasks:
        first: tuple[str, ...] = ()
        for run in runs:
            ids = item_ids(run, task)
            if ids and first and ids != first:
                raise HoldfastError(
                    f"Method {run.method}, seed {run.seed} was evaluated on other items of {task} than the "
                    f"methods before it ({_difference(first, ids)}), so they cannot be compared. "
                    "Evaluate all methods on the same test split."
                )
            first = first or ids
        counts[task] = len(first)
    return counts


def task_scores(run: MethodRun, task: str, stages: int) -> np.ndarray:
    """The score of each item at each stage, scores_SN; a stage without a cell is a row of NaN.

    Args:
        stages: S, the base included.
    """
    cells = dict(_cells_of(run, task))
    items = max((len(records) for records in cells.values()), default=0)
    scores_SN = np.full((stages, items), np.nan)
    for stage, records in cells.items():
        if stage < stages:
            scores_SN[stage] = [record["score"] for record in records]
    return scores_SN


def accuracy_matrix(run: MethodRun, tasks: Sequence[str], stages: int) -> np.ndarray:
    """Mean score of every cell, accuracy_ST; NaN where a cell is missing."""
    if not tasks:
        return np.empty((stages, 0))
    return np.stack([nan_mean(task_scores(run, task, stages), axis=1) for task in tasks], axis=1)


def run_matrices(run: MethodRun, results: Results) -> tuple[np.ndarray, np.ndarray]:
    """The accuracy matrices of a run's tasks, in the order it learned them, and of the general benchmarks."""
    stages = results.last_stage(run) + 1
    return accuracy_matrix(run, results.order_of(run), stages), accuracy_matrix(run, results.general, stages)


def mean_matrix(runs: Sequence[MethodRun], tasks: Sequence[str], stages: int) -> np.ndarray:
    """The accuracy matrix of several seeds: each cell is the mean over the seeds that have it."""
    return nan_mean(np.stack([accuracy_matrix(run, tasks, stages) for run in runs]), axis=0)


def finished_stages(run: MethodRun, results: Results) -> int:
    """How many trained stages have all the cells on the tasks the run has been trained on so far."""
    done = 0
    for stage in range(1, results.last_stage(run) + 1):
        seen = results.sequence if run.joint else results.order_of(run)[:stage]
        if not all(run.cells.get((stage, task)) for task in seen):
            break
        done = stage
    return done


def nan_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over what is not NaN; NaN, without a warning, where nothing is left."""
    present = ~np.isnan(values)
    count = present.sum(axis=axis)
    total = np.where(present, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _cells_of(run: MethodRun, task: str) -> list[tuple[int, list[Record]]]:
    found = [(stage, records) for (stage, name), records in run.cells.items() if name == task and records]
    return sorted(found, key=lambda cell: cell[0])


def _difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Where two lists of ids first differ, in words."""
    if len(ours) != len(theirs):
        return f"{len(ours)} against {len(theirs)} items"
    position = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return f"item {position + 1} is '{ours[position]}' against '{theirs[position]}'"


def group_by_method(runs: Iterable[MethodRun]) -> Mapping[str, list[MethodRun]]:
    """Runs per method, in the order in which methods first appear.

    Raises:
        HoldfastError: two seeds of a method learned the tasks in different orders.
    """
    grouped: dict[str, list[MethodRun]] = {}
    for run in runs:
        seeds = grouped.setdefault(run.method, [])
        if seeds and run.order != seeds[0].order:
            raise HoldfastError(
                f"Method {run.method}: seed {run.seed} learned the tasks in another order than seed "
                f"{seeds[0].seed}, so they are not one method. Give each order a method name of its own."
            )
        seeds.append(run)
    return grouped
