"""Methods against methods: differences with intervals, tests and effect sizes.

The p-values of one call of `compare` are adjusted together, so one call makes one table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.analysis.method import MethodView
from holdfast.analysis.paired import holm
from holdfast.analysis.permutation import (
    PERMUTATIONS,
    Difference,
    effect_sizes,
    item_scores,
    permutation_tests,
)
from holdfast.analysis.results import Results

METRICS = {"avg_acc": "AvgAcc", "fm": "FM", "bwt": "BWT", "plasticity": "Plasticity", "general": "General"}
# The smallest p there can be is one over the permutations, and the adjustment multiplies it by the
# number of tests; so many for each leave it at 0.01 or below.
PERMUTATIONS_PER_TEST = 100


@dataclass(frozen=True)
class Comparison:
    """A method minus a reference.

    Attributes:
        differences: per metric; NaN throughout where it does not apply or is not there yet.
    """

    method: MethodView
    reference: MethodView
    differences: Mapping[str, Difference]

    @property
    def one_seed(self) -> bool:
        """Whether one side has one seed only, so that nothing tells how another run would differ."""
        return min(self.method.draws.complete, self.reference.draws.complete) == 1


def references(
    methods: Sequence[MethodView], chosen: str | None = None
) -> list[tuple[MethodView, list[MethodView]]]:
    """Per task order: what its methods are compared with, and the others.

    The reference is the method that the experiment names; in another order, that which differs from
    it in nothing else. Or else it is the first sequential SFT method that is finished, or the first method.
    """
    asked = [_but_for_order(method) for method in methods if method.name == chosen]
    by_order: dict[tuple[str, ...], list[MethodView]] = {}
    for method in methods:
        if not method.joint and method.draws.complete:
            by_order.setdefault(method.order, []).append(method)
    found = []
    for group in by_order.values():
        named = [method for method in group if _but_for_order(method) in asked]
        sft = [method for method in group if method.objective == "sft"]
        reference = (named or sft or group)[0]
        found.append((reference, [method for method in group if method is not reference]))
    return found


def _but_for_order(method: MethodView) -> tuple[str, dict[str, object]]:
    return method.family, {name: value for name, value in method.axes.items() if name != "order"}


def compare(
    pairs: Sequence[tuple[MethodView, MethodView]],
    results: Results,
    metrics: Sequence[str] = tuple(METRICS),
) -> list[Comparison]:
    """Compare each (method, reference); p-values are adjusted over all pairs and metrics (Holm)."""
    methods = {view.name: view for pair in pairs for view in pair}
    scores = {name: item_scores(view.finished_runs, results) for name, view in methods.items()}
    permutations = max(PERMUTATIONS, PERMUTATIONS_PER_TEST * len(pairs) * len(metrics))
    sides = [(scores[method.name], scores[reference.name]) for method, reference in pairs]
    tests = permutation_tests(sides, permutations)
    gaps = [
        {name: method.draws.minus(reference.draws, name) for name in metrics} for method, reference in pairs
    ]
    tested = {
        (index, name): p[name]
        for index, p in enumerate(tests)
        for name, gap in gaps[index].items()
        if not np.isnan([gap.value, p[name]]).any()
    }
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    found = []
    for index, (pair, side) in enumerate(zip(pairs, sides, strict=True)):
        effects = effect_sizes(*side)
        differences = {
            name: Difference(
                gap.value,
                gap.low,
                gap.high,
                p=adjusted.get((index, name), np.nan),
                effect=effects.get(name, np.nan),
            )
            for name, gap in gaps[index].items()
        }
        found.append(Comparison(*pair, differences))
    return found
