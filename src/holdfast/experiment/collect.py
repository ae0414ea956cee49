"""From the store to `Results`, finished or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.analysis.results import MethodRun, Record, Results
from holdfast.config.experiment import Experiment
from holdfast.experiment.failures import causes, noted
from holdfast.experiment.plan import Chain, Job, Plan
from holdfast.experiment.store import Damaged, Store
from holdfast.tasks.example import Example
from holdfast.tasks.leftout import without


def collect(
    experiment: Experiment,
    plan: Plan,
    store: Store,
    on_damage: Callable[[Job, Damaged], None] = lambda job, damage: None,
) -> Results:
    """Everything the store holds of an experiment; what is not done is not there.

    Args:
        on_damage: is told of results that cannot be used; they count as not done.
    """
    return _Collector(experiment, plan, store, on_damage).results()


def judged(experiment: Experiment, plan: Plan, task: str) -> list[Example]:
    """The examples of a task that every policy is judged on, in the order of the records.

    Raises:
        HoldfastError: the data are no longer there.
    """
    split = experiment.evaluation.split
    found = without(experiment.task(task), plan.left_out)
    return found.examples(split, experiment.count(found, split))


@dataclass
class _Collector:
    experiment: Experiment
    plan: Plan
    store: Store
    on_damage: Callable[[Job, Damaged], None]
    records: dict[str, list[Record] | None] = field(default_factory=dict)  # shared ones are read once

    def results(self) -> Results:
        names = (*self.experiment.sequence, *self.experiment.general)
        other = self.experiment.evaluation.other_style
        return Results(
            name=self.experiment.name,
            sequence=self.experiment.sequence,
            general=self.experiment.general,
            chance={name: self.experiment.task(name).chance for name in names},
            settings=self.experiment.resolved(),
            runs=tuple(self.run(chain, other=False) for chain in self.plan.chains),
            other_style=tuple(self.run(chain, other=True) for chain in self.plan.chains) if other else (),
            options=frozenset(name for name in names if self.experiment.task(name).options),
            left_out=self.plan.left_out,
            made=tuple(filter(None, map(self.store.made, self.plan.jobs.values()))),
            failed=tuple(causes(self.failed())),
        )

    def run(self, chain: Chain, other: bool) -> MethodRun:
        variant = self.experiment.variants.get(chain.method)
        cells = {
            cell: records
            for cell, name in (chain.other_cells if other else chain.cells).items()
            if (records := self.rows(name)) is not None
        }
        return MethodRun(
            method=chain.method,
            seed=chain.seed,
            style=chain.other_style if other else chain.settings.style,
            joint=chain.settings.joint,
            objective=chain.settings.objective,
            group_baseline=chain.settings.group_baseline,
            cells=cells,
            curves=[
                self.ask(name, lambda job: self.store.rows(job, "metrics.jsonl")) or []
                for name in chain.learn
            ],
            filters=[self.filter(*names) for names in zip(chain.filters, chain.learn, strict=True)],
            totals=[self.ask(name, self.store.result) or {} for name in chain.learn],
            order=chain.order,
            family=variant.of if variant else "",
            axes=variant.axes if variant else {},
            measures={name: self.per_stage(jobs) for name, jobs in chain.measures.items()},
        )

    def failed(self) -> dict[str, str]:
        """Why jobs failed that are not done, by their labels. Notes are on this disk; results may be afar."""
        notes = [(job, noted(self.store, job)) for job in self.plan.jobs.values()]
        return {job.label: why for job, why in notes if why is not None and not self.store.has(job)}

    def per_stage(self, jobs: Mapping[int, str]) -> dict[int, dict[str, Any]]:
        """Results of jobs that belong to stages, as far as they are done."""
        found = {stage: self.ask(name, self.store.result) for stage, name in jobs.items()}
        return {stage: result for stage, result in found.items() if result is not None}

    def filter(self, filter: str | None, learn: str) -> dict[str, Any] | None:
        """How many examples a stage kept, how often each was answered right, and what that took."""
        if filter is None:
            return None
        rates, rows = self.ask(filter, self.store.result), self.rows(filter)
        learned = self.ask(learn, self.store.result)
        if rates is None or rows is None or learned is None:
            return None
        spent = {"completions": sum(row["samples"] for row in rows)}
        if all("flops" in row for row in rows):  # stores of the first versions do not say
            spent["flops"] = sum(row["flops"] for row in rows)
        if "seconds" in rates:
            spent["seconds"] = rates["seconds"]
        return {
            "kept": learned["kept"], "total": rates["examples"], "histogram": rates["histogram"], **spent
        }  # fmt: skip

    def rows(self, name: str) -> list[Record] | None:
        """The records of a cell or a filter, or None when it is not done."""
        if name not in self.records:
            self.records[name] = self.ask(name, lambda job: self.store.rows(job, "records.jsonl"))
        return self.records[name]

    def ask(self, name: str, read: Callable[[Job], Any]) -> Any:
        """What `read` finds of a job, or None when it is not done."""
        job = self.plan.jobs[name]
        try:
            return read(job) if self.store.has(job) else None
        except Damaged as damage:
            self.on_damage(job, damage)
            return None
