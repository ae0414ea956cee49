"""Measures of policies besides accuracy, as jobs: each loads what a stage left and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.experiment.plan import Job, measuring

if TYPE_CHECKING:
    from holdfast.experiment.jobs import Runner
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference


def drift(job: Job, runner: Runner) -> dict[str, Any]:
    """KL divergences and weight movement between the base, the stage before, and the policy after it."""
    from holdfast.mechanism.drift import drift as divergences
    from holdfast.mechanism.movement import movement

    experiment, inputs = runner.experiment, job.inputs
    policy = runner.policy_of(job)
    previous = job.others[0] if job.others else None
    references = {"base": _stand_in(policy, policy if policy.adapted else runner.load_base())}
    if previous is not None:
        references["previous"] = _stand_in(policy, runner.load_trained(previous))
    split = experiment.evaluation.split
    rows = divergences(
        policy,
        references,
        {task["name"]: runner.items(task["name"], split, task["count"]) for task in inputs["tasks"]},
        style=job.style,
        templates=experiment.prompts,
        sampling=measuring(experiment),
        samples=inputs["settings"]["samples"],
        stream=job.stream,
        batch=experiment.evaluation.batch,
    )
    assert job.policy is not None
    folders = [runner.weights_of(name) for name in (job.policy, *job.others)]
    if len(folders) < 3:
        folders.append(runner.base_folder())
    after, before_it, *earlier = folders
    moved = movement(before_it, after, earlier[0] if earlier else None)
    runner.inputs.check_base()  # its files were read here
    return {"kl": rows, "movement": moved, "new": inputs["new"]}


def risk(job: Job, runner: Runner) -> dict[str, Any]:
    """What updates on instances of the new task would do to the earlier tasks."""
    from holdfast.mechanism.risk import risk as risks

    settings, earlier = job.inputs["settings"], job.inputs["earlier"]
    assert job.method is not None
    new = [name for name in job.tasks if name not in earlier]
    share, rest = divmod(settings["old"], len(earlier))
    old = [
        item
        for index, name in enumerate(earlier)
        for item in runner.items(name, "train", share + (index < rest))
    ]
    each = -(-settings["instances"] // len(new))
    return risks(
        runner.policy_of(job),
        old,
        [item for name in new for item in runner.items(name, "train", each)][: settings["instances"]],
        style=job.style,
        templates=runner.experiment.prompts,
        sampling=measuring(runner.experiment),
        samples=settings["samples"],
        batch=job.method.batch,
        stream=job.stream,
        micro_batch=job.method.micro_batch,
    )


def probe(job: Job, runner: Runner) -> dict[str, Any]:
    """What a few steps of SFT on each old task bring back."""
    from holdfast.mechanism.probe import realign

    experiment, settings = runner.experiment, job.inputs["settings"]
    policy = runner.policy_of(job)
    rows = []
    for train, test in zip(job.inputs["train"], job.inputs["tasks"], strict=True):
        task: str = train["name"]
        rows.append(
            realign(
                policy,
                runner.task(task),
                runner.examples(task, "train", train["count"]),
                runner.examples(task, experiment.evaluation.split, test["count"]),
                steps=settings["steps"],
                learning_rate=settings["learning_rate"],
                style=job.style,
                templates=experiment.prompts,
                sampling=experiment.evaluation.sampling(),
                stream=(*job.stream, task),
                batch=experiment.evaluation.batch,
            )
        )
    return {"rows": rows}


def _stand_in(policy: Policy, other: Policy) -> Reference:
    """Another policy's weights as a reference of `policy`; of itself, with adapters off: the base."""
    from holdfast.policy.reference import Reference

    if other is policy:
        return policy.without_adapters()
    return Reference(policy, {name: weight.detach() for name, weight in other.model.named_parameters()})
