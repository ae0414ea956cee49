"""The metrics of learning and forgetting, and what a number of test items can tell apart.

`accuracy_ST[i, j]` is the accuracy after stage i on task j, 0..1; row 0 is the base, and stage i
trains on task i (column i - 1): columns stand in the order of training. Any leading axes are kept, so
that a bootstrap can measure all its resamples at once. Differences are signed: negative is worse than
before. Definitions and a worked example: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

POWER = 0.8  # with which a resolvable difference is found


METRICS = ("avg_acc", "fm", "bwt", "plasticity", "learned", "general", "fwt", "tlg")
# Of those that are not between -1 and 1.
_BOUNDS = {"avg_acc": (0.0, 1.0), "plasticity": (0.0, 1.0), "fm": (-1.0, 0.0)}


def bounds(name: str) -> tuple[float, float]:
    """The least and the most that a metric can be."""
    return _BOUNDS.get(name, (-1.0, 1.0))


def metrics_of(
    accuracy_ST: np.ndarray, general_SG: np.ndarray, *, joint: bool = False
) -> dict[str, np.ndarray]:
    """All metrics of a matrix (or of many, along leading axes), by name.

    A metric that needs a cell which is missing (NaN) is NaN. A joint run has rows 0 and 1 only and
    trains every task in its one stage: its plasticity is its AvgAcc, all it learned is tlg, and FM, BWT and
    fwt, which need another stage, are NaN.

    Args:
        accuracy_ST: stages (row 0 the base) by tasks, in the order they were trained on.
        general_SG: the same stages by general benchmarks; G may be 0.

    Returns:
        avg_acc: AvgAcc, mean accuracy over the sequence's tasks at the end.
        fm: forgetting measure, mean over old tasks of final minus best accuracy since learning it
            (at most 0; closer to 0 is better).
        bwt: backward transfer, mean over old tasks of final minus just-trained accuracy.
        plasticity: mean accuracy on each task just after training on it.
        learned: plasticity minus the base's mean accuracy.
        general: general benchmarks at the end minus base, mean over the benchmarks.
        fwt: forward transfer, mean over tasks but the first of accuracy just before training minus base.
        tlg: task learning gain, mean over tasks of accuracy just after minus just before training.

        Each has the leading axes. With T tasks, avg_acc = base + (T - 1) / T fwt + tlg + (T - 1) / T bwt,
        exactly: what was there, what came before a task's turn, in it, and after it.

    Raises:
        ValueError: the number of rows is not 1 + tasks (2 for a joint run).
    """
    stages, tasks = accuracy_ST.shape[-2:]
    if stages != (2 if joint else tasks + 1):
        raise ValueError(f"{tasks} tasks need {2 if joint else tasks + 1} rows with the base, not {stages}")
    base_T, last_T = accuracy_ST[..., 0, :], accuracy_ST[..., -1, :]
    if joint:
        just_trained_T, before_T = last_T, base_T
    else:
        just_trained_T = np.diagonal(accuracy_ST[..., 1:, :], axis1=-2, axis2=-1)
        before_T = np.diagonal(accuracy_ST[..., :-1, :], axis1=-2, axis2=-1)
    plasticity = just_trained_T.mean(axis=-1)
    if joint or tasks < 2:
        fm = bwt = fwt = np.full(accuracy_ST.shape[:-2], np.nan)
    else:
        # Best of stage j and later; earlier stages have not been trained on the task yet.
        best = [accuracy_ST[..., task + 1 :, task].max(axis=-1) for task in range(tasks - 1)]
        fm = (last_T[..., :-1] - np.stack(best, axis=-1)).mean(axis=-1)
        bwt = (last_T[..., :-1] - just_trained_T[..., :-1]).mean(axis=-1)
        fwt = (before_T[..., 1:] - base_T[..., 1:]).mean(axis=-1)
    return {
        "avg_acc": last_T.mean(axis=-1),
        "fm": fm,
        "bwt": bwt,
        "plasticity": plasticity,
        "learned": plasticity - base_T.mean(axis=-1),
        "general": _mean_change(general_SG),
        "fwt": fwt,
        "tlg": (just_trained_T - before_T).mean(axis=-1),
    }


def _mean_change(general_SG: np.ndarray) -> np.ndarray:
    if general_SG.shape[-1] == 0:
        return np.full(general_SG.shape[:-2], np.nan)
    return (general_SG[..., -1, :] - general_SG[..., 0, :]).mean(axis=-1)


def items_together(counts: Sequence[int]) -> int:
    """Test items that resolve as much as these of several tasks, which count alike in a mean over tasks."""
    return round(len(counts) ** 2 / sum(1 / count for count in counts))


def resolvable_difference(
    items: int,
    *,
    paired: bool = False,
    discordant: float = 0.2,
    level: float = 0.95,
) -> float:
    """The smallest true difference of two accuracies that `items` test items will usually show.

    "Usually": with probability `POWER`, a two-sided test at `level` finds it (normal approximation,
    (z_level + z_power) standard errors of the difference). Training seeds vary on top of this.

    Args:
        items: test items behind each accuracy; for a mean over tasks, `items_together`.
        paired: both accuracies are from the same items, so only items on which the two disagree
            count (McNemar); otherwise the items are independent, and both accuracies one half, the worst
            case.
        discordant: where paired, share of items that exactly one of the two gets right.

    Returns:
        A difference, 0..1 (0.05 is five percentage points); 1 where so few items show none.
    """
    if items < 1:
        raise ValueError(f"items must be at least 1, not {items}")
    normal = NormalDist()
    z = normal.inv_cdf(0.5 + level / 2) + normal.inv_cdf(POWER)
    variance = discordant if paired else 2 * 0.5 * 0.5
    return min(1.0, z * (variance / items) ** 0.5)
