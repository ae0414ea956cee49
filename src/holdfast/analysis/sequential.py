"""Looking at a comparison before all its items are there, without more false alarms.

A group-sequential test of McNemar's kind. Looks are at counts of items that are fixed beforehand. Given how
many items turned up to each look, every one of them is a loss with probability one half if nothing was
forgotten, whatever the looks before said: so the probability of an alarm at each look is a sum over binomial
paths, and exact. Of the error α a look may spend what is left of

    α*(t) = 2 − 2 Φ(z_{1−α/2} / √t),    t = items at the look / items at the last

(Lan and DeMets, Biometrika 70, 1983: boundaries like those of O'Brien and Fleming, Biometrics 35, 1979).
Early looks spend next to nothing, so that the last one is nearly the test without looks.

Only losses raise an alarm: the test is one-sided, at α / 2, and its p doubled, as McNemar's two-sided one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb
from statistics import NormalDist

import numpy as np

LOOKS = 4  # at equal steps
# Error levels at which the boundaries are tried, from the largest. A p is one of them: a little too large.
_LEVELS = np.exp(np.linspace(0.0, np.log(1e-6), 240))


@dataclass(frozen=True)
class Look:
    """What had turned when so many items were compared, the earlier ones among them."""

    items: int
    lost: int
    gained: int


def looks_at(items: int) -> list[int]:
    """The counts of items at which to look; the last is all of them."""
    return sorted({-(-items * look // LOOKS) for look in range(1, LOOKS + 1)})


def spent(alpha: float, share: float) -> float:
    """α*(t): the error that may be spent up to this share of the items."""
    normal = NormalDist()
    return 2 - 2 * normal.cdf(normal.inv_cdf(1 - alpha / 2) / share**0.5)


def p_value(looks: Sequence[Look], items: int) -> float:
    """The smallest error level at which the looks so far raise an alarm, as they do at all larger ones.

    At most α with probability at most α if nothing was forgotten, for every α and wherever one stops.

    Args:
        looks: made so far, in order.
        items: at the last look, made or not.
    """
    p = 1.0
    for alpha in _LEVELS:
        if not _alarm(looks, items, float(alpha)):
            break
        p = float(alpha)
    return p


def _alarm(looks: Sequence[Look], items: int, alpha: float) -> bool:
    """Whether one of the looks crosses its boundary."""
    path_L = np.ones(1)  # probability of so many losses, with no alarm so far
    flips, used = 0, 0.0
    for look in looks:
        now = look.lost + look.gained
        path_L = np.convolve(path_L, _binomial(now - flips))
        flips = now
        tail_L = np.cumsum(path_L[::-1])[::-1]  # probability of so many losses or more
        allowed = (spent(alpha, look.items / items) - used) / 2
        boundary = int(np.searchsorted(-tail_L, -allowed, side="left"))  # the fewest losses that alarm
        if look.lost >= boundary and boundary < len(path_L):
            return True
        used += 2 * float(tail_L[boundary]) if boundary < len(path_L) else 0.0
        path_L[boundary:] = 0.0
    return False


@cache
def _binomial(flips: int) -> np.ndarray:
    """Probability of 0 … flips losses among so many flips, each as likely a loss as a gain."""
    return np.array([comb(flips, losses) / 2**flips for losses in range(flips + 1)])
