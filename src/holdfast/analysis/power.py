"""How many items a comparison needs, before it is made.

An item turns with probability `churn`: it is lost with (churn + loss) / 2 and gained with (churn − loss) / 2,
so that accuracy falls by `loss`. The power is that of the verdict itself: McNemar's exact test at the level
that the number of rows leaves, and a fall of more than the bound. It is summed over numbers of flips and
losses, not approximated.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np

from holdfast.analysis.paired import ROUNDING
from holdfast.errors import InputError

CHURN = 0.2  # assumed where none was seen
# Items of a test with looks over those of one without: O'Brien and Fleming's bounds want about 2 % more at
# 90 % power (Jennison and Turnbull, Group Sequential Methods, 2000, chapter 2), whole flips a little more.
SEQUENTIAL_SHARE = 1.05
MOST_ITEMS = 2_000_000
_SPREAD = 7.0  # standard deviations of a binomial that are summed over


def power(items: int, *, loss: float, churn: float, alpha: float, max_drop: float) -> float:
    """Probability that a task of so many items is found forgotten.

    Args:
        loss: by which accuracy truly falls, 0..1.
        churn: share of items that turn; at least `loss`.
        alpha: error of the two-sided test, adjusted for the number of rows.
        max_drop: the bound that the fall must exceed.
    """
    flips_F = _around(items, churn)
    chance_F = _binomial(items, churn, flips_F)
    share = (churn + loss) / (2 * churn)  # of flips that are losses
    found = 0.0
    for flips, chance in zip(flips_F.tolist(), chance_F.tolist(), strict=True):
        fewest = max(_boundary(flips, alpha), int((flips + (max_drop + ROUNDING) * items) // 2) + 1)
        losses_L = np.arange(fewest, flips + 1)
        found += chance * float(_binomial(flips, share, losses_L).sum())
    return found


def items_needed(
    wanted: float,
    *,
    loss: float,
    churn: float = CHURN,
    rows: int = 1,
    level: float = 0.95,
    max_drop: float = 0.01,
    sequential: bool = False,
) -> int:
    """The fewest items of a task with which a loss is found with probability `wanted`.

    Args:
        rows: tasks, and all of them together, that are judged at once (Holm's first step divides by them).

    Raises:
        InputError: there is no such number, or none below `MOST_ITEMS`.
    """
    if loss <= max_drop:
        raise InputError(
            f"A loss of {100 * loss:g} points is allowed by --max-drop {100 * max_drop:g}, so no number of "
            "items shows it; raise --loss or lower --max-drop."
        )
    churn = max(churn, loss)  # what is lost has turned

    def enough(items: int) -> bool:
        alpha = (1 - level) / rows
        return power(items, loss=loss, churn=churn, alpha=alpha, max_drop=max_drop) >= wanted

    # The bound alone, by a normal approximation: far fewer items are never enough, and quickly told.
    least = (max(0.0, NormalDist().inv_cdf(wanted)) / (loss - max_drop)) ** 2 * (churn - loss**2)
    most = max(16, round(least / 2))
    while least > MOST_ITEMS or not enough(most):
        most *= 2
        if max(least, most) > MOST_ITEMS:
            raise InputError(
                f"More than {MOST_ITEMS:,} items would be needed to show a loss of {100 * loss:g} points "
                f"with --max-drop {100 * max_drop:g}; raise --loss or lower --max-drop."
            )
    few = most // 2
    while most - few > max(1, few // 200):  # power rises in teeth: half a percent is near enough
        middle = (few + most) // 2
        few, most = (few, middle) if enough(middle) else (middle, most)
    return round(most * SEQUENTIAL_SHARE) if sequential else most


def _around(count: int, share: float) -> np.ndarray:
    """The values of a binomial that are not next to impossible."""
    mean, reach = count * share, _SPREAD * (count * share * (1 - share)) ** 0.5 + 1
    return np.arange(max(0, int(mean - reach)), min(count, int(mean + reach)) + 1)


def _binomial(count: int, share: float, values: np.ndarray) -> np.ndarray:
    """Probabilities of values of a binomial."""
    if share in (0.0, 1.0):
        return (values == round(count * share)).astype(float)
    logs = _log_factorials(1 << (count + 1).bit_length())
    choices = logs[count] - logs[values] - logs[count - values]
    return np.exp(choices + values * np.log(share) + (count - values) * np.log1p(-share))


@cache
def _log_factorials(size: int) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])


@cache
def _boundary(flips: int, alpha: float) -> int:
    """The fewest losses among so many flips for which McNemar's p is at most alpha; flips + 1 if none."""
    tail_L = np.cumsum(_binomial(flips, 0.5, np.arange(flips, -1, -1)))[::-1]  # of so many losses or more
    return int(np.searchsorted(-2 * tail_L, -alpha, side="left"))
