"""One method of the results, its seeds together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.analysis.bootstrap import Estimate, MethodDraws, estimate
from holdfast.analysis.metrics import bounds
from holdfast.analysis.results import MethodRun
from holdfast.analysis.transitions import ItemHistory
from holdfast.tasks.prompts import Style


@dataclass(frozen=True)
class MethodView:
    """One method, its seeds together.

    Attributes:
        name, style, joint, objective: as in its runs.
        runs: one per seed.
        draws: bootstrap draws of its metrics and cells.
        matrix_ST: accuracy per cell, mean over seeds, tasks of the sequence then general
            benchmarks; row 0 is the base; NaN where missing.
        history: what its seeds made of every item of old tasks and general benchmarks, stage by stage.
        finished: per seed, how many trained stages are evaluated.
        stages: how many there are.
        order: the tasks in the order it trained on them.
        family, axes: of a method made by a grid: the method it varies, and its value on each axis. The
            family of any other is its own name.
    """

    name: str
    style: Style
    joint: bool
    objective: str
    runs: tuple[MethodRun, ...]
    draws: MethodDraws
    matrix_ST: np.ndarray
    history: ItemHistory
    finished: tuple[int, ...]
    stages: int
    order: tuple[str, ...]
    family: str
    axes: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Its name; a joint one says so."""
        return f"{self.name} (joint)" if self.joint and "joint" not in self.name.lower() else self.name

    def trained_on(self, stage: int) -> str:
        """What a stage trained on: a row of the accuracy matrix."""
        if stage == 0:
            return "base"
        return "all tasks" if self.joint else self.order[stage - 1]

    def metric(self, name: str) -> Estimate:
        """A metric with its interval, in units of one; the interval holds possible values alone."""
        return estimate(self.draws.metrics[name]).within(*bounds(name))

    def cell(self, stage: int, task: int) -> Estimate:
        """A cell's accuracy with its interval; negative stages count from the end."""
        return estimate(self.draws.accuracy_BST[:, stage, task]).within(0.0, 1.0)

    def change(self, task: int) -> Estimate:
        """Accuracy at the end minus base on one task."""
        return estimate(self.draws.change_BT[:, task]).within(-1.0, 1.0)

    @property
    def complete(self) -> bool:
        return self.draws.complete == self.draws.seeds

    @property
    def finished_runs(self) -> list[MethodRun]:
        """The seeds whose every stage is evaluated."""
        done = zip(self.runs, self.finished, strict=True)
        return [run for run, finished in done if finished == self.stages]


def by_family(methods: Iterable[MethodView]) -> dict[str, list[MethodView]]:
    """The methods of each family, in order of appearance."""
    families: dict[str, list[MethodView]] = {}
    for method in methods:
        families.setdefault(method.family, []).append(method)
    return families
