"""Risk: before each stage but the first, what an update on each instance would do to earlier tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from holdfast.measures import Measure, Moment, Needs, Request

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.jobs import Runner
    from holdfast.experiment.plan import Job

VECTORS = 8  # as long as the trained weights, in float32, that updates.py holds at once


class Risk(Measure):
    """gᵀFg of SFT's and RFT's updates g, F being the Fisher information of the earlier tasks."""

    version: ClassVar[int] = 3
    looks_back: ClassVar[bool] = True

    instances: int = Field(4, ge=2)  # of the new task
    samples: int = Field(8, ge=2)  # completions of each
    old: int = Field(8, ge=1)  # of all earlier tasks together

    def problems(self, experiment: Experiment) -> Iterator[str]:
        yield from super().problems(experiment)
        if experiment.model.lora is not None:
            yield (
                "needs full fine-tuning: gradients of adapters that are still at zero say little; leave it "
                "out or leave model.lora out"
            )

    def request(self, moment: Moment) -> Request | None:
        if not moment.earlier:
            return None
        tasks = (*moment.earlier, *moment.new)
        inputs = {
            "earlier": list(moment.earlier),
            "tasks": [moment.data(task, "train") for task in tasks],
        }
        return Request(moment.policies[-2], tasks, inputs)

    def measure(self, job: Job, runner: Runner) -> dict[str, Any]:
        """What updates on instances of the new task would do to the earlier tasks."""
        from holdfast.measures.updates import risks

        earlier = job.inputs["earlier"]
        assert job.method is not None
        new = [name for name in job.tasks if name not in earlier]
        share, rest = divmod(self.old, len(earlier))
        old = [
            item
            for index, name in enumerate(earlier)
            for item in runner.items(name, "train", share + (index < rest))
        ]
        each = -(-self.instances // len(new))
        return risks(
            runner.policy_of(job),
            old,
            [item for name in new for item in runner.items(name, "train", each)][: self.instances],
            replace(
                runner.asking(job),
                sampling=runner.experiment.evaluation.measuring(),
                batch=job.method.batch,
            ),
            samples=self.samples,
            micro_batch=job.method.micro_batch,
        )

    def units(self, inputs: Mapping[str, Any], examples: int) -> float:
        settings = inputs["settings"]
        return float(settings["old"] + settings["instances"] * (1 + settings["samples"]))

    def needs(self, experiment: Experiment, vocabulary: int) -> Needs:
        return Needs(vectors=VECTORS, graph=self.samples)
