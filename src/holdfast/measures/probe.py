"""The re-alignment probe: after the last stage, what a few SFT steps bring back of each old task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from holdfast.measures import Measure, Moment, Request

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.jobs import Runner
    from holdfast.experiment.plan import Job


class Probe(Measure):
    looks_back: ClassVar[bool] = True
    unit_seconds: ClassVar[float] = 0.003

    examples: int = Field(16, ge=1)  # of the old task's training examples
    steps: int = Field(8, ge=1)  # of SFT on them
    learning_rate: float = Field(1e-4, gt=0)  # of these steps
    test_examples: int | None = Field(None, ge=1)  # of those that judge; None: all of them

    def determining(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"methods", "test_examples"})

    def problems(self, experiment: Experiment) -> Iterator[str]:
        yield from super().problems(experiment)
        split = experiment.evaluation.split
        for name in experiment.sequence:
            own = experiment.tasks.get(name)
            if own is None or isinstance(own, str):  # code says itself what its splits are
                continue
            if own.train is not None and own.train == getattr(own, split):
                yield f"would test {name} on what it trains on: its train and {split} are the same"

    def request(self, moment: Moment) -> Request | None:
        old, experiment = moment.earlier, moment.experiment
        if not moment.is_last or not old:
            return None
        inputs: dict[str, Any] = {
            "train": [moment.data(task, "train", self.examples) for task in old],
            "tasks": [moment.data(task, moment.split, self.test_examples) for task in old],
        }
        if experiment.evaluation.temperature > 0:  # greedy answers need no more than is said anyway
            inputs["judging"] = experiment.evaluation.sampling().model_dump(mode="json")
        if experiment.model.trains_bfloat16:
            inputs["optimizer_state"] = "float32"
        return Request(moment.policies[-1], old, inputs)

    def measure(self, job: Job, runner: Runner) -> dict[str, Any]:
        """What a few steps of SFT on each old task bring back."""
        from holdfast.measures.realign import realign

        policy = runner.policy_of(job)
        judged = {task: [example for _, example in items] for task, items in runner.asked(job).items()}
        rows = [
            realign(
                policy,
                runner.task(train["name"]),
                runner.examples(train["name"], "train", train["count"]),
                judged[train["name"]],
                runner.asking(job, train["name"]),
                steps=self.steps,
                learning_rate=self.learning_rate,
            )
            for train in job.inputs["train"]
        ]
        return {"rows": rows}
