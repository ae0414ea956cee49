"""Bootstrap confidence intervals over test items and seeds.

One resample draws N of a task's N test items with replacement. The same draw serves every stage,
seed and method, so that whatever compares cells (FM, BWT, learned, the difference of two methods)
is compared on the same items. With several seeds the spread between them is added by a parametric
bootstrap: the mean of R normal values with the seeds' standard deviation, which is itself uncertain,
lies within a t distribution of R - 1 degrees of freedom. (Drawing from R seeds with replacement
holds the truth in 75 % of intervals for R = 3: there are too few to draw from.) Intervals are
percentiles; docs/metrics.md has what a simulation found of them.

Axes: B resamples with the data themselves in front (index 0), R seeds, S stages, T tasks (those of
the sequence in the experiment's order, then the general benchmarks), N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from holdfast import rng
from holdfast.analysis.matrix import check_items, group_by_method, task_scores
from holdfast.analysis.metrics import bounds, metrics_of
from holdfast.analysis.results import MethodRun, Results

RESAMPLES = 1000  # of items
SEED_DRAWS = 10  # of seeds for each: a t distribution of few degrees of freedom has long tails
LEVEL = 0.95
ROUNDING = 1e-14  # what is closer to zero is zero, computed in another order


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; NaN throughout when there is nothing to estimate from."""

    value: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the interval leaves zero out: for a difference, whether one was shown."""
        return bool(self.low > 0 or self.high < 0)

    def within(self, least: float, most: float) -> Estimate:
        """The same with an interval that ends where the quantity does; few seeds make long ones."""
        return Estimate(self.value, max(self.low, least), min(self.high, most))


@dataclass(frozen=True)
class MethodDraws:
    """What the resamples gave for one method, its seeds combined.

    Attributes:
        metrics: name of a metric -> draws_B. A metric counts the seeds that have all its cells.
        accuracy_BST: accuracy of every cell, NaN where no seed has it.
        change_BT: accuracy at the end minus base, per task, over the seeds that have both.
        seeds: R, started.
        complete: seeds that have every cell their metrics need.
    """

    metrics: dict[str, np.ndarray]
    accuracy_BST: np.ndarray
    change_BT: np.ndarray
    seeds: int
    complete: int

    def minus(self, other: MethodDraws, metric: str) -> Estimate:
        """The difference of a metric; both were resampled with the same items, so it is paired."""
        least, most = bounds(metric)
        return estimate(self.metrics[metric] - other.metrics[metric]).within(least - most, most - least)


def resample(
    results: Results, runs: Sequence[MethodRun], resamples: int = RESAMPLES
) -> dict[str, MethodDraws]:
    """Draws for every method among `runs`, which are `results.runs` or `results.other_style`.

    Deterministic: the random streams are named after the task and the numbers of items and seeds.

    Raises:
        HoldfastError: cells of one task hold different items.
    """
    tasks = (*results.sequence, *results.general)
    items = check_items(runs, tasks)
    weights = {task: item_weights(task, items[task], resamples) for task in tasks}
    draws = {}
    for method, seeds in group_by_method(runs).items():
        stages = results.last_stage(seeds[0]) + 1
        cells = [
            np.stack(
                [_resampled_means(task_scores(run, task, stages), weights[task]) for task in tasks], axis=-1
            )
            for run in seeds
        ]
        order = [results.sequence.index(task) for task in results.order_of(seeds[0])]
        draws[method] = _combine(np.stack(cells), order, seeds[0].joint)
    return draws


def item_weights(task: str, items: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each resample draws each item, weights_BN (rows sum to N); row 0 is the data: all ones."""
    if items == 0:
        return np.ones((resamples + 1, 0))
    generator = np.random.default_rng(rng.seed("bootstrap", "items", task, items))
    drawn_BN = generator.integers(items, size=(resamples, items)) + items * np.arange(resamples)[:, None]
    counts = np.bincount(drawn_BN.ravel(), minlength=resamples * items).reshape(resamples, items)
    return np.concatenate([np.ones((1, items)), counts])


def combine_seeds(values_RB: np.ndarray) -> np.ndarray:
    """Draws of the mean over seeds; seeds without a value (NaN in column 0) do not count.

    Methods with as many seeds get the same draws of them, seed by seed, so that the difference of two
    is that of their seeds' differences.

    Returns:
        The mean, then SEED_DRAWS draws of each of the B - 1 resamples: [1 + SEED_DRAWS · (B - 1)].
    """
    present_RB = values_RB[~np.isnan(values_RB[:, 0])]
    seeds, draws = len(present_RB), SEED_DRAWS * (values_RB.shape[1] - 1)
    if seeds == 0:
        return np.full(1 + draws, np.nan)
    mean_B = present_RB.mean(axis=0)
    drawn = np.tile(mean_B[1:], SEED_DRAWS)
    if seeds > 1:
        drawn += _seed_weights(seeds, draws) @ (present_RB[:, 0] - mean_B[0])
    return np.concatenate([mean_B[:1], drawn])


@cache
def _seed_weights(seeds: int, draws: int) -> np.ndarray:
    """weights [draws, R]; their products with R deviations from the mean are s / sqrt(R) times a t value.

    The deviations' squares sum to (R - 1) s², so normal weights of variance 1 / (R (R - 1)) make a normal
    value of variance s² / R, which a chi-square for s makes one of the t distribution.
    """
    generator = np.random.default_rng(rng.seed("bootstrap", "seeds", seeds))
    normal = generator.standard_normal((draws, seeds)) / (seeds * (seeds - 1)) ** 0.5
    chi_square = generator.chisquare(seeds - 1, size=(draws, 1))
    return normal * np.sqrt((seeds - 1) / chi_square)


def estimate(draws_B: np.ndarray, level: float = LEVEL) -> Estimate:
    """The observed value (index 0) with the percentile interval of the resamples behind it."""
    if np.isnan(draws_B[0]):
        return Estimate(np.nan, np.nan, np.nan)
    ends = np.nanquantile(draws_B[1:], [0.5 - level / 2, 0.5 + level / 2])
    value, low, high = (0.0 if abs(one) < ROUNDING else float(one) for one in (draws_B[0], *ends))
    return Estimate(value, low, high)


def _resampled_means(scores_SN: np.ndarray, weights_BN: np.ndarray) -> np.ndarray:
    """accuracy_BS: the mean score of every stage in every resample."""
    if scores_SN.shape[1] == 0:
        return np.full((len(weights_BN), len(scores_SN)), np.nan)
    return weights_BN @ scores_SN.T / scores_SN.shape[1]


def _combine(cells_RBST: np.ndarray, order: list[int], joint: bool) -> MethodDraws:
    """`order`: the column of each task, in the order of training."""
    sequence = len(order)
    trained, general = cells_RBST[..., order], cells_RBST[..., sequence:]
    metrics_RB = metrics_of(trained, general, joint=joint)
    *_, stages, tasks = cells_RBST.shape
    accuracy_BST = np.stack(
        [
            np.stack([combine_seeds(cells_RBST[:, :, stage, task]) for task in range(tasks)], axis=-1)
            for stage in range(stages)
        ],
        axis=1,
    )
    change_RBT = cells_RBST[:, :, -1] - cells_RBST[:, :, 0]
    needed = ["avg_acc", "plasticity", "learned"]
    if sequence > 1 and not joint:
        needed.append("fm")  # every cell since a task was learned, and so BWT's as well
    if tasks > sequence:
        needed.append("general")
    missing_R = np.isnan([metrics_RB[name][:, 0] for name in needed]).any(axis=0)
    return MethodDraws(
        metrics={name: combine_seeds(values) for name, values in metrics_RB.items()},
        accuracy_BST=accuracy_BST,
        change_BT=np.stack([combine_seeds(change_RBT[..., task]) for task in range(tasks)], axis=-1),
        seeds=len(cells_RBST),
        complete=int((~missing_R).sum()),
    )
