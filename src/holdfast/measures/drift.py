"""Drift: how far stages move the policy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from holdfast.measures import Measure, Moment, Needs, Request

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.jobs import Runner
    from holdfast.experiment.plan import Job
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference

DISTRIBUTIONS = 3  # over the vocabulary, that kl.py holds at once


class Drift(Measure):
    """How far each stage moved the policy from the base and from the one before: in what it says (KL) on the
    new task, earlier ones and general benchmarks, and in its weights.
    """

    version: ClassVar[int] = 3
    prompts: int = Field(5, ge=2)  # of each task
    samples: int = Field(1, ge=1)  # completions of each prompt and policy

    def determining(self) -> dict[str, Any]:
        return {"samples": self.samples}

    def request(self, moment: Moment) -> Request:
        *past, policy = moment.policies
        others = tuple(name for name in past[:-3:-1] if name is not None)  # the last stage and the one before
        trained, experiment = (*moment.earlier, *moment.new), moment.experiment
        inputs = {
            "previous": list(others),
            "stage": moment.stage,
            "base": moment.base,
            "new": list(moment.new),
            "tasks": [
                moment.data(task, moment.split, self.prompts) for task in (*trained, *experiment.general)
            ],
        }
        return Request(policy, trained, inputs, others)

    def measure(self, job: Job, runner: Runner) -> dict[str, Any]:
        """KL divergences and weight movement between the base, the stage before, and the policy after it."""
        from holdfast.measures.kl import divergences
        from holdfast.measures.movement import movement

        policy = runner.policy_of(job)
        references = {"base": _stand_in(policy, policy if policy.adapted else runner.load_base())}
        if job.others:
            references["previous"] = _stand_in(policy, runner.load_trained(job.others[0]))
        rows = divergences(
            policy,
            references,
            runner.asked(job),
            replace(runner.asking(job), sampling=runner.experiment.evaluation.measuring()),
            self.samples,
        )
        folders = [runner.weights_of(name) for name in job.loads]
        if len(folders) < 3:
            folders.append(runner.inputs.base_folder())
        after, before_it, *earlier = folders
        moved = movement(before_it, after, earlier[0] if earlier else None)
        runner.inputs.check_base()  # its files were read here
        return {"kl": rows, "movement": moved, "new": job.inputs["new"]}

    def needs(self, experiment: Experiment, vocabulary: int) -> Needs:
        from holdfast.measures.kl import EXACT_ENTRIES

        evaluation = experiment.evaluation
        others = 1 if experiment.model.lora is not None else 2  # the base is the policy without its adapters
        longest = (1 + others) * self.samples * evaluation.max_tokens * vocabulary  # of one prompt
        entries = min(longest * evaluation.batch, EXACT_ENTRIES) if longest <= EXACT_ENTRIES else 0
        return Needs(policies=others, numbers=DISTRIBUTIONS * entries)


def _stand_in(policy: Policy, other: Policy) -> Reference:
    """Another policy's weights as a reference of `policy`; of itself, with adapters off: the base."""
    from holdfast.policy.reference import Reference

    if other is policy:
        return policy.without_adapters()
    return Reference(policy, {name: weight.detach() for name, weight in other.model.named_parameters()})
