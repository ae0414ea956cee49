"""What became of every test item: one word for its answers over the stages.

At a stage, an item is compared with what it was just after training on its task; where that is not earlier
(the task learned last, joint training) and for a general benchmark, with the base. In the words of
`transitions.py`, which counts the same items:

- *kept*: right at both, and at every stage between;
- *recovered*: right at both, wrong at some stage between;
- *lost*: right before, wrong now;
- *gained*: wrong before, right now;
- *never*: wrong at every stage up to now, the base included;
- *passing*: wrong at both, right at some other stage up to now.

Axes: S stages (0 is the base), N items.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from holdfast.analysis.outcomes import Outcome
from holdfast.analysis.transitions import MISSING


class Fate(IntEnum):
    """The values are what arrays of fates hold; where a stage is missing they hold `MISSING`."""

    LOST = 0
    RECOVERED = 1
    GAINED = 2
    NEVER = 3
    PASSING = 4
    KEPT = 5


def fates(outcome_SN: np.ndarray, learned: int, until: int) -> np.ndarray:
    """The fate of every item at stage `until`, [N].

    Args:
        outcome_SN: `Outcome`s, `MISSING` where a stage has no cell or a cell lacks the item.
        learned: the stage that trained on the task; 0 for a general benchmark.
    """
    since = learned if learned < until else 0
    there_SN, right_SN = outcome_SN != MISSING, outcome_SN == Outcome.RIGHT
    was_N, is_N = right_SN[since], right_SN[until]
    slipped_N = (there_SN & ~right_SN)[since : until + 1].any(axis=0)
    ever_N = right_SN[: until + 1].any(axis=0)
    fate_N = np.where(
        is_N,
        np.where(was_N, np.where(slipped_N, Fate.RECOVERED, Fate.KEPT), Fate.GAINED),
        np.where(was_N, Fate.LOST, np.where(ever_N, Fate.PASSING, Fate.NEVER)),
    )
    return np.where(there_SN[since] & there_SN[until], fate_N, MISSING)
