"""Two checkpoints on the same items: how much they differ, and whether that can be chance.

Intervals come from the bootstrap over items. Where few items differ it would give intervals that
are too narrow, down to no width at all for ten equal answers; so half an item of each extreme is
added to what resamples are drawn from (Agresti and Min, Statistics in Medicine 24, 2005, do the same
for Wald intervals of paired shares). The value itself has nothing added.

A mean of resampled items depends only on how often each distinct value is drawn, so a resample is
one multinomial draw over the few distinct scores, however many items there are.

Axes: N items, B resamples with the data themselves in front, K distinct values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from holdfast import rng
from holdfast.analysis.bootstrap import LEVEL, Estimate, estimate
from holdfast.analysis.metrics import items_together

RESAMPLES = 10_000
ROUNDING = 1e-12  # means closer than this are ties, computed in another order


@dataclass(frozen=True)
class Change:
    """The second checkpoint against the first, on the items of one task (or of several).

    Attributes:
        items: N.
        before, after: accuracies, 0..1.
        draws_B: the change in accuracy, resampled; the observed one in front.
        lost, gained: items whose score fell, and rose; of scores 0 and 1, right before and wrong after, and
            the reverse.
        alike: each item whose score changed adds as much to the change, or takes as much from it: scores are
            0 and 1, and tasks have the same number of items.
        counting: items of one task that tell as much; fewer than there are, where tasks that count alike
            have different numbers of them.
        turned: share of items whose score changed; of several tasks, each weighs as its part in the
            uncertainty of their mean.
    """

    items: int
    before: float
    after: float
    draws_B: np.ndarray
    lost: int
    gained: int
    alike: bool
    counting: int
    turned: float

    @property
    def value(self) -> float:
        """Accuracy after minus before."""
        return float(self.draws_B[0])

    @property
    def p(self) -> float:
        """Of no change, two-sided: by McNemar's exact test where flips tell the mean, else by the resamples.

        A count of flips knows nothing of their size: where many items lose a little and a few gain much, it
        finds a loss though accuracy is the same.
        """
        if self.alike:
            return mcnemar(self.lost, self.gained)
        resamples_B = self.draws_B[1:] * np.sign(self.value)
        return min(1.0, 2 * (1 + int((resamples_B <= 0).sum())) / (1 + len(resamples_B)))

    def fell(self, most: float) -> bool:
        """Whether accuracy fell by more than so much."""
        return -self.value > most + ROUNDING

    def interval(self, level: float = LEVEL) -> Estimate:
        """The change with its bootstrap interval."""
        return estimate(self.draws_B, level)


def compare(name: str, before_N: np.ndarray, after_N: np.ndarray) -> Change:
    """The change between two rows of scores of the same items.

    Args:
        name: of the task; names the random stream, so that results are the same on every run.
    """
    change_N = after_N - before_N
    return Change(
        items=len(before_N),
        before=float(before_N.mean()),
        after=float(after_N.mean()),
        draws_B=resampled_means(change_N, (-1.0, 1.0), name),
        lost=int((change_N < 0).sum()),
        gained=int((change_N > 0).sum()),
        alike=bool(np.isin(change_N, (-1, 0, 1)).all()),
        counting=len(before_N),
        turned=float((change_N != 0).mean()),
    )


def pool(changes: Sequence[Change]) -> Change:
    """All tasks together: the mean of their accuracies, the sum of their flips."""
    counting = items_together([change.items for change in changes])
    noise = sum(change.turned / change.items for change in changes) / len(changes) ** 2
    return Change(
        items=sum(change.items for change in changes),
        before=float(np.mean([change.before for change in changes])),
        after=float(np.mean([change.after for change in changes])),
        draws_B=np.mean([change.draws_B for change in changes], axis=0),
        lost=sum(change.lost for change in changes),
        gained=sum(change.gained for change in changes),
        alike=all(change.alike for change in changes) and len({change.items for change in changes}) == 1,
        counting=counting,
        turned=noise * counting,
    )


def accuracy(name: str, scores_N: np.ndarray) -> Estimate:
    """The mean score with its bootstrap interval."""
    return estimate(resampled_means(scores_N, (0.0, 1.0), name))


def resampled_means(values_N: np.ndarray, extremes: tuple[float, float], name: str) -> np.ndarray:
    """Means of resampled items, means_B; `extremes` are the least and the largest value there can be."""
    weights_N = np.concatenate([np.ones(len(values_N)), [0.5, 0.5]])
    values_K, places_N = np.unique(np.concatenate([values_N, extremes]), return_inverse=True)
    weights_K = np.bincount(places_N, weights_N)
    generator = np.random.default_rng(rng.seed("bootstrap", "paired", name, len(values_N)))
    drawn_BK = generator.multinomial(len(values_N), weights_K / weights_K.sum(), size=RESAMPLES)
    return np.concatenate([[values_N.mean()], drawn_BK @ values_K / len(values_N)])


def mcnemar(lost: int, gained: int) -> float:
    """McNemar's exact test, two-sided: is each flip as likely to be a loss as a gain?"""
    flips = lost + gained
    tail = ways = 1  # ways: in which so many of the flips are of the rarer kind
    for count in range(min(lost, gained)):
        ways = ways * (flips - count) // (count + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**flips)


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm, 1979), in the order given.

    Rejecting what stays at or below a bound errs in any of them with at most that probability.
    """
    adjusted = [1.0] * len(values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = running
    return adjusted
