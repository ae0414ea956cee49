"""Sample-level forgetting: which items went from right to wrong, and back, and why.

An average that does not move can hide many items lost and as many gained. For an old task the
comparison is between just after training on it and a later stage; for a general benchmark between
the base and a later stage. What counts as right, and the kinds of wrong: `outcomes.py`.

**Chance.** Of k options, a guess is right once in k, so some items are lost (and gained) by guessing
alone. With a the shares of right items before and after, 1 − a of the items are wrong guesses, so
(1 − a) / (k − 1) are lucky ones, and

    lost by chance = gained by chance = (1 − a_before) (1 − a_after) / (k − 1),   k = 1 / chance,

which `lost_true` and `gained_true` leave out, never below 0 (arXiv 2510.17776). It is no model of open
answers, whose chance level is that of the best answer without the picture: they are not corrected.

Axes: S stages (0 is the base), N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from holdfast.analysis.bootstrap import Estimate, combine_seeds, estimate, item_weights
from holdfast.analysis.outcomes import Outcome, outcome
from holdfast.analysis.results import MethodRun, Results

MISSING = -1
SHARES = ("kept", "lost", "gained", "lost_format", "lost_convention", "lost_knowledge")


@dataclass(frozen=True)
class Transitions:
    """Shares of a task's test items, 0..1, mean over seeds.

    Attributes:
        task: its name.
        since, until: the stages compared (0 is the base).
        items: how many test items there are.
        kept: right at both.
        lost: right at `since`, wrong at `until`.
        gained: wrong at `since`, right at `until`.
        lost_format, lost_convention, lost_knowledge: the parts of `lost`, by what is wrong at `until`.
        lost_true, gained_true: beyond what guessing explains; None where answers are not options, or
            how many is unknown.
    """

    task: str
    since: int
    until: int
    items: int
    kept: float
    lost: float
    gained: float
    lost_format: float
    lost_convention: float
    lost_knowledge: float
    lost_true: float | None
    gained_true: float | None


@dataclass(frozen=True)
class Persistence:
    """What became of the items that were right just after training (or in the base), mean over seeds.

    Attributes:
        task: its name.
        since: the stage they were right at.
        never_lost: share of them that stayed right at every later stage.
        recovered: of those that were wrong at some later stage, the share that is right at the end;
            None where nothing was lost, or only one stage followed.
    """

    task: str
    since: int
    never_lost: float
    recovered: float | None


class ItemHistory:
    """What one method's seeds made of every test item, stage by stage.

    Attributes:
        outcomes: per task, for each seed, outcome_SN; a stage without a cell holds `MISSING`.
        since: per old task and general benchmark, the stage it is compared from.
    """

    def __init__(self, runs: Sequence[MethodRun], results: Results) -> None:
        first = runs[0]
        self.end = results.last_stage(first)
        self.chance = {task: results.chance.get(task) for task in results.options}
        old = () if first.joint else results.order_of(first)[:-1]
        self.since = {task: results.learned_at(first, task) for task in (*old, *results.general)}
        self.outcomes = {task: [_outcomes(run, task, self.end + 1) for run in runs] for task in self.since}

    def to_end(self) -> list[Transitions]:
        """From just after training (or the base) to the end; tasks without both cells are left out."""
        pairs = [(task, since, self.end) for task, since in self.since.items()]
        return [found for pair in pairs if (found := self.between(*pair))]

    @cached_property
    def turnover(self) -> dict[str, Estimate]:
        """Shares of `SHARES` from just after training to the end, mean over the old tasks, with intervals.

        Items and seeds are resampled as for every other measure. Empty where nothing is old.
        """
        draws = []
        for task, since in self.since.items():
            pairs = self._pairs(task, since, self.end)
            if since and pairs:
                items = len(pairs[0][0])
                weights_BN = item_weights(task, items)
                shares_RKB = np.stack([_changes(*pair) @ weights_BN.T / items for pair in pairs])
                draws.append([combine_seeds(shares_RKB[:, kind]) for kind in range(len(SHARES))])
        if not draws:
            return {}
        mean_KB = np.mean(draws, axis=0)
        return {name: estimate(row_B).within(0, 1) for name, row_B in zip(SHARES, mean_KB, strict=True)}

    def by_stage(self) -> list[Transitions]:
        """From just after training to every later stage, and from each of these to the next."""
        found = []
        for task, since in self.since.items():
            later = range(since + 1, self.end + 1)
            pairs = [(since, stage) for stage in later] + [(stage - 1, stage) for stage in later[1:]]
            found += [entry for pair in pairs if (entry := self.between(task, *pair))]
        return found

    def between(self, task: str, since: int, until: int) -> Transitions | None:
        """The transitions between two stages, over the seeds that have both; None if none has."""
        pairs = self._pairs(task, since, until)
        if not pairs:
            return None
        shares = np.mean([_changes(*pair).mean(axis=1) for pair in pairs], axis=0).tolist()
        chance = self.chance.get(task)
        true: list[float | None] = [None, None]
        if chance is not None and chance < 1:
            true = np.mean([_beyond_chance(*pair, chance) for pair in pairs], axis=0).tolist()
        lost_true, gained_true = true
        return Transitions(
            task, since, until, len(pairs[0][0]), lost_true=lost_true, gained_true=gained_true,
            **dict(zip(SHARES, shares, strict=True)),
        )  # fmt: skip

    def _pairs(self, task: str, since: int, until: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Outcomes at both stages, of each seed that has both."""
        pairs = [(one[since], one[until]) for one in self.outcomes[task]]
        return [pair for pair in pairs if pair[0].size and MISSING not in (pair[0][0], pair[1][0])]

    def persistence(self) -> list[Persistence]:
        """Items lost for good and items that came back, for tasks with all cells since training."""
        found = []
        for task, since in self.since.items():
            histories = [one[since:] for one in self.outcomes[task]]
            histories = [one for one in histories if one.size and MISSING not in one[:, 0]]
            shares = [share for one in histories if (share := _persistence(one))]
            if shares:
                back = [recovered for _, recovered in shares if recovered is not None]
                never_lost = float(np.mean([stayed for stayed, _ in shares]))
                found.append(Persistence(task, since, never_lost, float(np.mean(back)) if back else None))
        return found


def _outcomes(run: MethodRun, task: str, stages: int) -> np.ndarray:
    cells = [run.cells.get((stage, task), []) for stage in range(stages)]
    outcome_SN = np.full((stages, max(map(len, cells))), MISSING)
    for stage, records in enumerate(cells):
        if records:
            outcome_SN[stage] = [outcome(record) for record in records]
    return outcome_SN


def _changes(before_N: np.ndarray, after_N: np.ndarray) -> np.ndarray:
    """Which items each of `SHARES` counts, [6, N]."""
    was_N, is_N = before_N == Outcome.RIGHT, after_N == Outcome.RIGHT
    kinds = (Outcome.FORMAT, Outcome.CONVENTION, Outcome.KNOWLEDGE)
    lost = (was_N & (after_N == kind) for kind in kinds)
    return np.stack([was_N & is_N, was_N & ~is_N, ~was_N & is_N, *lost])


def _beyond_chance(before_N: np.ndarray, after_N: np.ndarray, chance: float) -> tuple[float, float]:
    """`lost_true` and `gained_true`: shares lost and gained beyond what guessing explains."""
    was_N, is_N = before_N == Outcome.RIGHT, after_N == Outcome.RIGHT
    lucky_per_wrong = chance / (1 - chance)  # 1 / (k − 1)
    by_chance = (1 - was_N.mean()) * (1 - is_N.mean()) * lucky_per_wrong
    lost, gained = (was_N & ~is_N).mean(), (~was_N & is_N).mean()
    return max(float(lost - by_chance), 0.0), max(float(gained - by_chance), 0.0)


def _persistence(outcome_SN: np.ndarray) -> tuple[float, float | None] | None:
    """never_lost and recovered, from the stage after training on; None where nothing was right."""
    right_SN = outcome_SN == Outcome.RIGHT
    later_SN = right_SN[1:, right_SN[0]]  # of the items right just after training
    if not later_SN.size:
        return None
    lost_N = ~later_SN.all(axis=0)
    recovered = float(later_SN[-1, lost_N].mean()) if lost_N.any() and len(later_SN) > 1 else None
    return float(1 - lost_N.mean()), recovered
