"""Everything a report shows, computed once from the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from holdfast.analysis.bootstrap import Estimate, estimate, resample
from holdfast.analysis.comparisons import Comparison, compare, references
from holdfast.analysis.matrix import check_items, finished_stages, group_by_method, mean_matrix
from holdfast.analysis.method import MethodView
from holdfast.analysis.predictors import Study, study
from holdfast.analysis.results import MethodRun, Results
from holdfast.analysis.transitions import ItemHistory
from holdfast.tasks.prompts import Style


@dataclass(frozen=True)
class Analysis:
    """The results with what was computed from them.

    Attributes:
        methods: in the order of the experiment.
        other_style: the same methods judged under the other prompt style, if that was asked for.
        tasks: the sequence, then the general benchmarks.
        items: test items per task.
    """

    results: Results
    methods: list[MethodView]
    other_style: list[MethodView]
    tasks: tuple[str, ...]
    items: dict[str, int]

    @cached_property
    def by_name(self) -> dict[str, MethodView]:
        return {method.name: method for method in self.methods}

    @property
    def sequential(self) -> list[MethodView]:
        """Methods that learned one task after another."""
        return [method for method in self.methods if not method.joint]

    @property
    def joint(self) -> list[MethodView]:
        """Methods that learned all tasks at once."""
        return [method for method in self.methods if method.joint]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every finished sequential method against the reference of its task order."""
        pairs = [(method, reference) for reference, others in self.references for method in others]
        return compare(pairs, self.results)

    @property
    def references(self) -> list[tuple[MethodView, list[MethodView]]]:
        """Per task order: what its methods are compared with, and the others."""
        return references(self.methods, self.reference)

    @property
    def reference(self) -> str | None:
        """The method that the experiment wants the others compared with."""
        return self.results.settings.get("reference")

    def ctm(self, method: MethodView) -> Estimate | None:
        """AvgAcc over that of joint training in the same objective and style, where that is finished."""
        same = (one for one in self.joint if one.objective == method.objective and one.style == method.style)
        joint = next((one for one in same if one.draws.complete), None)
        if joint is None or joint.draws.metrics["avg_acc"][0] == 0:
            return None
        of_joint = joint.draws.metrics["avg_acc"]
        # Draws for seeds that differ much go below 0, of which there is no share.
        share = method.draws.metrics["avg_acc"] / np.where(of_joint > 0, of_joint, np.nan)
        return estimate(share).within(0.0, np.inf)

    @property
    def shared_order(self) -> tuple[str, ...] | None:
        """The order in which every sequential method learned the tasks; None when they differ."""
        orders = {method.order for method in self.sequential} or {self.results.sequence}
        return orders.pop() if len(orders) == 1 else None

    @property
    def stage_labels(self) -> tuple[str, ...]:
        """What stages 1, 2, … are called on an axis: their tasks, or numbers where orders differ."""
        return self.shared_order or tuple(str(stage + 1) for stage in range(len(self.results.sequence)))

    def styles(self, methods: Sequence[MethodView]) -> dict[Style, MethodView]:
        """Per prompt style, a method that was judged in it: the one its base row is taken from."""
        found: dict[Style, MethodView] = {}
        for method in methods:
            if not np.isnan(method.matrix_ST[0]).all():
                found.setdefault(method.style, method)
        return found

    @cached_property
    def study(self) -> Study:
        """What predicts forgetting."""
        return study(self.results)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({run.seed for run in self.results.runs}))


def analyse(results: Results) -> Analysis:
    """Compute all that the report needs.

    Raises:
        HoldfastError: cells of one task hold different items.
    """
    tasks = (*results.sequence, *results.general)
    return Analysis(
        results=results,
        methods=_views(results, results.runs, tasks),
        other_style=_views(results, results.other_style, tasks),
        tasks=tasks,
        items=check_items(results.runs, tasks),
    )


def _views(results: Results, runs: Sequence[MethodRun], tasks: Sequence[str]) -> list[MethodView]:
    draws = resample(results, runs) if runs else {}
    views = []
    for name, seeds in group_by_method(runs).items():
        first = seeds[0]
        stages = results.last_stage(first)
        views.append(
            MethodView(
                name=name,
                style=first.style,
                joint=first.joint,
                objective=first.objective,
                runs=tuple(seeds),
                draws=draws[name],
                matrix_ST=mean_matrix(seeds, tasks, stages + 1),
                history=ItemHistory(seeds, results),
                finished=tuple(finished_stages(run, results) for run in seeds),
                stages=stages,
                order=results.order_of(first),
                family=first.family or name,
                axes=first.axes,
            )
        )
    return views
