"""Choosing settings of two methods that can be compared: with equal gain, or with equal budget.

Who learns less has less to forget, and who computes more may learn more. So where methods come in several
settings (a learning rate, a group size), a pair is chosen, one setting of each:

- **at matched gain**: among the pairs where no difference in plasticity is shown (its paired interval
  holds 0), those of which neither side has a closer partner; of these, the one whose less plastic side
  learned most;
- **at matched budget**: of the pairs whose floating-point operations, or whose numbers of sampled
  completions (*roll-outs*), are within 10 % of each other, the one with the highest AvgAcc, both sides
  together. Where there is none, the closest pair is given, and is not called matched.

Only settings that learned the tasks in the same order make a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np

from holdfast.analysis.bootstrap import Estimate, MethodDraws
from holdfast.analysis.results import MethodRun

Budget = Literal["flops", "rollouts"]
TOLERANCE = 0.10  # of budgets called equal


@dataclass(frozen=True)
class Variant:
    """One setting of a method.

    Attributes:
        name: of the method it is in the experiment.
        order: the tasks in the order it trained on them.
        draws: its bootstrap draws.
        flops: floating-point operations of training per seed, None if not recorded.
        rollouts: completions sampled per seed, None if not recorded.
    """

    name: str
    order: tuple[str, ...]
    draws: MethodDraws
    flops: float | None
    rollouts: float | None = None


@dataclass(frozen=True)
class Match:
    """A pair of settings.

    Attributes:
        variant, reference: names.
        plasticity: of the variant minus that of the reference.
        ratio: of the variant's budget to the reference's (operations, where gain is matched), None if
            not recorded.
        matched: whether the pair is equal in what it was chosen for.
    """

    variant: str
    reference: str
    plasticity: Estimate
    ratio: float | None
    matched: bool


def at_matched_gain(variants: Sequence[Variant], references: Sequence[Variant]) -> Match | None:
    """The pair that learned most among the pairs that learned alike; None if no pair did."""
    gaps = [
        (variant, reference, variant.draws.minus(reference.draws, "plasticity"))
        for variant, reference in _pairs(variants, references)
    ]
    alike = [pair for pair in gaps if pair[2].low <= 0 <= pair[2].high]
    nearest: dict[str, float] = {}
    for *sides, gap in alike:
        for side in sides:
            nearest[side.name] = min(nearest.get(side.name, np.inf), abs(gap.value))
    mutual = [
        (variant, reference, gap)
        for variant, reference, gap in alike
        if abs(gap.value) == nearest[variant.name] == nearest[reference.name]
    ]
    if not mutual:
        return None
    variant, reference, gap = max(mutual, key=lambda pair: min(_value(one, "plasticity") for one in pair[:2]))
    return Match(variant.name, reference.name, gap, _ratio(variant, reference, "flops"), matched=True)


def at_matched_budget(
    variants: Sequence[Variant], references: Sequence[Variant], budget: Budget = "flops"
) -> Match | None:
    """The best pair of equal budget, or else the closest; None where it was not recorded, or is 0."""
    pairs = [
        (variant, reference, ratio)
        for variant, reference in _pairs(variants, references)
        if (ratio := _ratio(variant, reference, budget))
    ]
    if not pairs:
        return None

    def accuracy(pair: tuple[Variant, Variant, float]) -> float:
        return _value(pair[0], "avg_acc") + _value(pair[1], "avg_acc")

    equal = [pair for pair in pairs if max(pair[2], 1 / pair[2]) <= 1 + TOLERANCE]
    if equal:
        chosen = max(equal, key=accuracy)
    else:
        chosen = min(pairs, key=lambda pair: (abs(log(pair[2])), -accuracy(pair)))
    variant, reference, ratio = chosen
    gap = variant.draws.minus(reference.draws, "plasticity")
    return Match(variant.name, reference.name, gap, ratio, matched=bool(equal))


def training_flops(runs: Sequence[MethodRun], stages: int) -> float | None:
    """Floating-point operations per seed, filters' sampling included; None unless every stage says so."""
    return _spent(runs, stages, "flops", "flops")


def rollouts(runs: Sequence[MethodRun], stages: int) -> float | None:
    """Completions sampled per seed, those of filters included; None unless every stage says so."""
    return _spent(runs, stages, "sampled", "completions")


def _spent(runs: Sequence[MethodRun], stages: int, learning: str, filtering: str) -> float | None:
    """Mean over seeds of a sum over stages; the keys are those of a stage's totals and of a filter."""
    per_seed = []
    for run in runs:
        learned = [total.get(learning) for total in run.totals if total]
        filtered = [entry.get(filtering) for entry in run.filters if entry]
        spent = [amount for amount in (*learned, *filtered) if amount is not None]
        if len(learned) < stages or len(spent) < len(learned) + len(filtered):
            return None
        per_seed.append(float(sum(spent)))
    return float(np.mean(per_seed)) if per_seed else None


def _pairs(variants: Sequence[Variant], references: Sequence[Variant]) -> Iterator[tuple[Variant, Variant]]:
    for reference in references:
        for variant in variants:
            if variant.order == reference.order:
                yield variant, reference


def _value(variant: Variant, metric: str) -> float:
    return float(variant.draws.metrics[metric][0])


def _ratio(variant: Variant, reference: Variant, budget: Budget) -> float | None:
    mine, other = getattr(variant, budget), getattr(reference, budget)
    return mine / other if mine and other else None
