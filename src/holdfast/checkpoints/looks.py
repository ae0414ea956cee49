"""Looking at a new checkpoint's answers while they come, and ending a task that is plainly forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from holdfast.analysis import paired
from holdfast.analysis.results import Record
from holdfast.analysis.sequential import Look, looks_at, p_value, spent
from holdfast.checkpoints.folder import Examined
from holdfast.generate.evaluate import Enough


class Looks:
    """The looks at every task of one comparison: at a quarter, a half, three quarters and all of its items.

    A task is ended at the first look at which its loss exceeds the bound and its p the level that the number
    of tasks leaves. Items count in their order, whatever the order in which answers come.

    Args:
        before: answers of the base to all items.
        max_drop: the bound, 0..1.
    """

    def __init__(self, before: Sequence[Examined], *, max_drop: float, level: float) -> None:
        self.base = {one.task: one.scores_N for one in before}
        self.max_drop, self.alpha = max_drop, (1 - level) / len(before)

    def watch(self, task: str) -> Callable[[Mapping[int, Record]], None]:
        """What is shown the new checkpoint's answers to one task, and raises `Enough`."""
        left = looks_at(len(self.base[task]))[:-1]  # at the last there is nothing left to save

        def look(records: Mapping[int, Record]) -> None:
            while left and all(place in records for place in range(left[0])):
                items = left.pop(0)
                first = [records[place] for place in range(items)]
                scores_N = np.array([record["score"] for record in first])
                change = paired.compare(task, self.base[task][:items], scores_N)
                if change.fell(self.max_drop) and self.p(task, scores_N) <= self.alpha:
                    raise Enough(first)

        return look

    def p(self, task: str, scores_N: np.ndarray) -> float:
        """The p-value of the looks that so many answers allow, the one at the last item included.

        Looks count flips. Where those count unlike, the mean must show the loss as well: the p of all answers
        so far may be what is spent by now.
        """
        before_N = self.base[task][: len(scores_N)]
        change = paired.compare(task, before_N, scores_N)
        lost_N, gained_N = np.cumsum(scores_N < before_N), np.cumsum(scores_N > before_N)
        items = len(self.base[task])
        made = [
            Look(count, int(lost_N[count - 1]), int(gained_N[count - 1]))
            for count in looks_at(items)
            if count <= len(scores_N)
        ]
        p = p_value(made, items)
        return p if change.alike else max(p, spent(change.p, items / len(scores_N)))


def alike(before: Sequence[Examined], after: Sequence[Examined]) -> list[Examined]:
    """The base's answers to those items that the new checkpoint answered."""
    return [
        replace(old, records=old.records[:count], inputs=old.inputs | {"examples": count})
        for old, count in zip(before, (len(one.records) for one in after), strict=True)
    ]
