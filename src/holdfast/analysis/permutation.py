"""Permutation tests: could the difference between two methods come from the choice of test items alone?

If two methods did equally well, it would not matter, on any one item, which of the two sets of answers
is called whose. So the labels are swapped item by item, independently and with probability one half:
all scores of an item (every stage, mean over seeds) change sides together, which keeps stages paired,
and any metric can be computed anew, FM with its maximum included. With d the observed difference,

    p = (1 + number of permutations with |difference| >= |d|) / (1 + permutations).

**What p covers:** the test items, given these trained models. **What it does not:** that other seeds
would have given other models; the interval of the difference has the seeds in it. That is why a
difference counts as shown only when both say so (`Difference.shown`).

Where two methods learned the tasks in different orders, an item's stages do not correspond: only metrics
that do not depend on the order (AvgAcc, general) have a p there.

Axes: P permutations, S stages, T tasks, N items of one task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from holdfast import rng
from holdfast.analysis.bootstrap import Estimate
from holdfast.analysis.matrix import nan_mean, task_scores
from holdfast.analysis.metrics import METRICS, metrics_of
from holdfast.analysis.results import MethodRun, Results

PERMUTATIONS = 2000  # and drawn this many at a time
ANY_ORDER = ("avg_acc", "general")
SIGNIFICANCE = 0.05
ROUNDING = 1e-9  # differences closer than this are ties, computed in another order


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference with its interval and its test.

    Attributes:
        p: of the permutation test; adjusted for the table it stands in. NaN where it cannot be made.
        effect: d_z, the difference over the standard deviation of the items' differences; NaN for FM,
            which is no mean over items.
    """

    p: float
    effect: float

    @property
    def shown(self) -> bool:
        """The interval leaves zero out, and the test agrees."""
        return super().shown and bool(self.p <= SIGNIFICANCE)


@dataclass(frozen=True)
class ItemScores:
    """Scores of one method, mean over its seeds.

    Attributes:
        sequence: task -> scores_SN, in the order of training.
        general: general benchmark -> scores_SN.
        joint: it trained on all tasks at once.
    """

    sequence: Mapping[str, np.ndarray]
    general: Mapping[str, np.ndarray]
    joint: bool


def item_scores(runs: Sequence[MethodRun], results: Results) -> ItemScores:
    """The scores of one method's seeds; pass those that are finished."""
    first = runs[0]
    stages = results.last_stage(first) + 1

    def mean(task: str) -> np.ndarray:
        return nan_mean(np.stack([task_scores(run, task, stages) for run in runs]), axis=0)

    return ItemScores(
        sequence={task: mean(task) for task in results.order_of(first)},
        general={task: mean(task) for task in results.general},
        joint=first.joint,
    )


def permutation_tests(
    pairs: Sequence[tuple[ItemScores, ItemScores]], permutations: int = PERMUTATIONS
) -> list[dict[str, float]]:
    """For each pair, the p-value of every metric's difference; NaN where there is none or no test.

    Deterministic: the random streams are named after the task and the number of items.

    Args:
        permutations: at least this many, in whole batches of `PERMUTATIONS`.
    """
    aligned = [_aligned(*pair) for pair in pairs]
    scores = ({**first.sequence, **first.general} for first, _, _ in aligned)
    sizes = {(task, scores_SN.shape[1]) for tasks in scores for task, scores_SN in tasks.items()}
    # The observed difference is the permutation that swaps nothing.
    unswapped = {size: np.ones((1, size[1])) for size in sizes}
    observed = [
        {name: abs(float(gap_P[0])) for name, gap_P in _differences(first, second, unswapped).items()}
        for first, second, _ in aligned
    ]
    extreme = [dict.fromkeys(names, 0) for _, _, names in aligned]
    batches = -(-permutations // PERMUTATIONS)
    for batch in range(batches):
        signs = {size: _signs(*size, batch) for size in sizes}  # most of the time goes into drawing them
        for (first, second, names), seen, count in zip(aligned, observed, extreme, strict=True):
            differences = _differences(first, second, signs)
            for name in names:
                count[name] += int((np.abs(differences[name]) >= seen[name] - ROUNDING).sum())
    return [
        {
            name: (1 + count[name]) / (1 + batches * PERMUTATIONS)
            if name in count and not np.isnan(seen[name])
            else np.nan
            for name in seen
        }
        for seen, count in zip(observed, extreme, strict=True)
    ]


def effect_sizes(first: ItemScores, second: ItemScores) -> dict[str, float]:
    """d_z of every metric that is a mean over items; items are weighted so that tasks count alike."""
    first, second, names = _aligned(first, second)
    ours, theirs = _item_values(first), _item_values(second)
    return {name: _standardised(ours[name], theirs[name]) for name in ours if name in names}


def _aligned(first: ItemScores, second: ItemScores) -> tuple[ItemScores, ItemScores, tuple[str, ...]]:
    """Both with the same stages and tasks, and the metrics that can be compared.

    Of methods with different orders that is base and end, as of a method with one stage.
    """
    if (list(first.sequence), first.joint) == (list(second.sequence), second.joint):
        return first, second, METRICS
    tasks = sorted(first.sequence)

    def ends(scores: ItemScores) -> ItemScores:
        return ItemScores(
            sequence={task: scores.sequence[task][[0, -1]] for task in tasks},
            general={task: scores_SN[[0, -1]] for task, scores_SN in scores.general.items()},
            joint=True,
        )

    return ends(first), ends(second), ANY_ORDER


def _signs(task: str, items: int, batch: int) -> np.ndarray:
    """sign_PN, +1 (as it is) or -1 (swapped) with probability one half; the same for all methods."""
    generator = np.random.default_rng(rng.seed("permutation", task, items, batch))
    bits = np.unpackbits(np.frombuffer(generator.bytes(PERMUTATIONS * -(-items // 8)), np.uint8))
    sign_PN = bits.reshape(PERMUTATIONS, -1)[:, :items].astype(np.float64)
    sign_PN *= -2
    sign_PN += 1
    return sign_PN


def _differences(
    first: ItemScores, second: ItemScores, signs: Mapping[tuple[str, int], np.ndarray]
) -> dict[str, np.ndarray]:
    """The difference of every metric, difference_P, with the items swapped that have a sign of -1.

    Args:
        signs: (task, items) -> sign_PN.
    """
    stages = len(next(iter(first.sequence.values())))
    permutations = len(next(iter(signs.values())))
    none_PS0 = np.empty((permutations, stages, 0))
    ours_PST, theirs_PST = _swapped(first.sequence, second.sequence, signs) or (none_PS0, none_PS0)
    ours_PSG, theirs_PSG = _swapped(first.general, second.general, signs) or (none_PS0, none_PS0)
    ours = metrics_of(ours_PST, ours_PSG, joint=first.joint)
    theirs = metrics_of(theirs_PST, theirs_PSG, joint=first.joint)
    return {name: values_P - theirs[name] for name, values_P in ours.items()}


def _swapped(
    ours: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
    signs: Mapping[tuple[str, int], np.ndarray],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Accuracies of both methods, accuracy_PST, with items swapped; None without tasks.

    Swapping an item changes the sign of half the difference between the two methods; their mean stays.

    Args:
        ours, theirs: task -> scores_SN.
    """
    middles_S, swaps_PS = [], []
    for task in ours:
        items = ours[task].shape[1]
        middle_S = (ours[task] + theirs[task]).sum(axis=1) / 2
        swap_PS = signs[task, items] @ (ours[task] - theirs[task]).T / 2
        middles_S.append(middle_S / items if items else np.full_like(middle_S, np.nan))
        swaps_PS.append(swap_PS / max(items, 1))
    if not middles_S:
        return None
    middle_ST, swap_PST = np.stack(middles_S, axis=-1), np.stack(swaps_PS, axis=-1)
    return middle_ST + swap_PST, middle_ST - swap_PST


def _item_values(scores: ItemScores) -> dict[str, list[np.ndarray]]:
    """Metrics that are means over tasks of means over items: per task, what each item adds, value_N."""
    tasks = list(scores.sequence.values())
    base, end = ([scores_SN[stage] for scores_SN in tasks] for stage in (0, -1))
    just = end if scores.joint else [scores_SN[stage] for stage, scores_SN in enumerate(tasks, start=1)]
    values = {
        "avg_acc": end,
        "bwt": [] if scores.joint else _minus(end[:-1], just[:-1]),
        "plasticity": just,
        "learned": _minus(just, base),
        "general": [scores_SN[-1] - scores_SN[0] for scores_SN in scores.general.values()],
    }
    return {name: per_task for name, per_task in values.items() if per_task}


def _minus(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def _standardised(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    gaps = _minus(ours, theirs)
    gap_N = np.concatenate(gaps)
    if len(gap_N) < 2:
        return np.nan
    weight_N = np.concatenate([np.full(len(gap), 1 / (len(gaps) * max(len(gap), 1))) for gap in gaps])
    mean = float(weight_N @ gap_N)
    variance = float(weight_N @ (gap_N - mean) ** 2) * len(gap_N) / (len(gap_N) - 1)
    return mean / variance**0.5 if variance > ROUNDING**2 else np.nan
