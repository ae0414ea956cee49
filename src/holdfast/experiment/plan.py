"""An experiment as a graph of jobs.

A job is named by its *fingerprint*: the hash of everything that determines its result. Equal work
is one job, whichever methods, seeds or experiments ask for it. A policy that a job starts from is
named by the fingerprint of the `learn` job that made it, or None for the base.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast import measures, plugins
from holdfast.config.exam import Exam
from holdfast.config.experiment import Experiment
from holdfast.experiment.fitting import rows_left_out
from holdfast.experiment.identity import HASHES, digest, model_identity
from holdfast.learning.methods import RFT, Method
from holdfast.measures import Measure, Moment, Request
from holdfast.tasks.leftout import LeftOut, without
from holdfast.tasks.prompts import Style
from holdfast.tasks.task import Split, Task
from holdfast.versions import EVALUATION_VERSION, FILTER_VERSION

KINDS = ("learn", "filter", "evaluate", *measures.KINDS, measures.OWN)  # of jobs
NAME_LENGTH = 16  # of `Job.short_name`
_NAME = re.compile(rf"(?<![0-9a-f])[0-9a-f]{{{NAME_LENGTH}}}(?![0-9a-f])")
VERSIONS = {"filter": FILTER_VERSION, "evaluate": EVALUATION_VERSION}  # a method and a measure have their own


def names_job(text: str) -> bool:
    """Whether the name of something in a store is that of a job, or holds one: all else there is not ours."""
    return _NAME.search(text) is not None


@dataclass(frozen=True)
class Job:
    """One unit of work with one result.

    Attributes:
        inputs: everything that determines the result, as plain data.
        policy: `learn` job whose weights this one loads; None for the base model.
        others: `learn` jobs whose weights it loads besides.
        filter: `filter` job whose pass rates choose the training examples, if any.
        tasks: names; one, or all of the sequence for a joint `learn`.
        method: whose policy it is about; None for evaluations.
        measure: what it measures, if it does.
        style: prompt style of the job.
        stream: names of the random streams it draws from.
        label: what a person reads, from the first method that asked for it.
        fingerprint: names the result; the plan gives it.
    """

    kind: str
    inputs: dict[str, Any]
    policy: str | None
    tasks: tuple[str, ...]
    method: Method | None
    style: Style
    stream: tuple[object, ...]
    label: str
    filter: str | None = None
    others: tuple[str, ...] = ()
    measure: Measure | None = None
    fingerprint: str = ""

    @property
    def short_name(self) -> str:
        """The part of its fingerprint by which folders and locks of its result are called."""
        return self.fingerprint[:NAME_LENGTH]

    @property
    def entry(self) -> str:
        """The name under which a store keeps its result."""
        return f"{self.kind}/{self.short_name}"

    @property
    def starts_from(self) -> str:
        """What a worker has in memory to do it: the policy of a `learn` job, or `base`."""
        return self.policy or "base"

    @property
    def loads(self) -> tuple[str, ...]:
        """Jobs whose weights this one loads."""
        return (self.policy, *self.others) if self.policy is not None else self.others

    @property
    def parents(self) -> tuple[str, ...]:
        """Jobs that must be done before this one."""
        return self.loads if self.filter is None else (*self.loads, self.filter)


@dataclass
class Chain:
    """One method with one seed: what it learns, and the cells that judge it."""

    method: str
    seed: int
    settings: Method
    learn: list[str] = field(default_factory=list)  # one job a stage
    filters: list[str | None] = field(default_factory=list)
    cells: dict[tuple[int, str], str] = field(default_factory=dict)  # (stage, task) -> job
    other_cells: dict[tuple[int, str], str] = field(default_factory=dict)  # under the other style
    order: tuple[str, ...] = ()  # the tasks as it trains on them
    measures: dict[str, dict[int, str]] = field(default_factory=dict)  # name -> stage -> job

    @property
    def other_style(self) -> Style:
        """The prompt style that it is not trained in."""
        return "direct" if self.settings.style == "cot" else "cot"

    def jobs(self) -> list[tuple[int, str]]:
        """All of them with their stages, from the first stage to the last; 0 is before it."""
        found = [(stage, name) for stage, name in enumerate(self.filters, start=1) if name is not None]
        found += enumerate(self.learn, start=1)
        for cells in (self.cells, self.other_cells):
            found += [(stage, name) for (stage, _), name in cells.items()]
        found += [entry for stages in self.measures.values() for entry in stages.items()]
        return sorted(found, key=lambda entry: entry[0])


@dataclass
class Plan:
    """All jobs of an experiment, parents before children, and what they are for."""

    jobs: dict[str, Job]
    chains: list[Chain]
    asked: int  # jobs before equal ones were made one
    code: dict[str, str] = field(default_factory=dict)  # files of the user's own, with their hashes
    left_out: tuple[LeftOut, ...] = ()  # rows that its jobs go without

    def children(self) -> dict[str, list[str]]:
        """Jobs that need a job, by its fingerprint."""
        children: dict[str, list[str]] = {name: [] for name in self.jobs}
        for job in self.jobs.values():
            for parent in job.parents:
                children[parent].append(job.fingerprint)
        return children

    def last_stages(self) -> set[str]:
        """The `learn` jobs that end a chain."""
        return {chain.learn[-1] for chain in self.chains}

    def digest(self) -> str:
        """Changes with anything that changes a result."""
        return digest(sorted(self.jobs))


def make_plan(experiment: Experiment) -> Plan:
    """The jobs of a checked experiment.

    Raises:
        InputError: a task or the model cannot be found, or too few rows are left of a task.
    """
    return _Planner(experiment).plan()


def evaluation_plan(exam: Exam, identity: str | dict[str, Any], name: str, here: bool) -> Plan:
    """The jobs of letting one checkpoint answer tasks: those of an experiment with it as a policy.

    Args:
        identity: what it is (`model_identity`), or the fingerprint of the `learn` job that made it.
        name: of the checkpoint, for people.
        here: it generates in this process, so that its answers depend on how many are asked together.

    Raises:
        InputError: a task cannot be found, or too few of its rows are left.
    """
    planner = _Planner(exam, identity, here)
    for task in exam.general:
        planner.evaluate(None, task, exam.style, exam.seeds[0], f"{name}: evaluate {task}")
    return planner.made([])


def facts(task: Task) -> dict[str, Any]:
    """What determines the examples of a task and their scores."""
    return {"version": task.version, "source": task.source, **task.scoring}


class _Planner:
    def __init__(
        self, experiment: Experiment, base: str | dict[str, Any] | None = None, here: bool = True
    ) -> None:
        self.experiment = experiment
        memory = experiment.store_folder / HASHES
        self.base = base if base is not None else model_identity(experiment.model, memory)
        self.here = here
        self.jobs: dict[str, Job] = {}
        self.left_out = rows_left_out(experiment) if here else ()
        self.tasks = {
            name: without(experiment.task(name), self.left_out)
            for name in (*experiment.sequence, *experiment.general)
        }
        self.asked = 0

    def plan(self) -> Plan:
        return self.made(
            [
                self.chain(name, method, seed)
                for seed in self.experiment.seeds
                for name, method in self.experiment.methods.items()
            ]
        )

    def made(self, chains: list[Chain]) -> Plan:
        # Trackers are no part of any job.
        code = plugins.code(self.experiment.model_dump(mode="json", exclude={"track"}))
        return Plan(self.jobs, chains, self.asked, code, self.left_out)

    def chain(self, name: str, method: Method, seed: int) -> Chain:
        order = self.experiment.order_of(method)
        stages: Sequence[tuple[str, ...]] = [order] if method.joint else [(task,) for task in order]
        chain = Chain(name, seed, method, order=order)
        self.cells(chain, 0, None, general=True)
        policy: str | None = None
        for stage, tasks in enumerate(stages, start=1):
            where = f"{name} seed {seed} stage {stage} ({'all tasks' if method.joint else tasks[0]})"
            filter = None
            if isinstance(method, RFT) and method.filters:
                filter = self.filter(policy, tasks, method, seed, f"{where}: filter")
            earlier = tuple(task for past in stages[: stage - 1] for task in past)
            policy = self.learn(policy, filter, tasks, earlier, method, seed, f"{where}: learn")
            chain.filters.append(filter)
            chain.learn.append(policy)
            last = stage == len(stages)
            self.cells(chain, stage, policy, general=last or self.experiment.general_every_stage)
        self.measures(chain, stages)
        return chain

    def cells(self, chain: Chain, stage: int, policy: str | None, general: bool) -> None:
        """Judge one policy on every task, and on the general benchmarks."""
        style, other = chain.settings.style, chain.other_style
        trained = self.experiment.sequence
        if stage and not (self.experiment.evaluation.future_tasks or chain.settings.joint):
            trained = tuple(task for task in trained if task in chain.order[:stage])
        names = trained + (self.experiment.general if general else ())
        who = f"{chain.method} seed {chain.seed} stage {stage}" if policy else "base"
        for name in names:
            label = f"{who}: evaluate {name}"
            chain.cells[stage, name] = self.evaluate(policy, name, style, chain.seed, label)
            if self.experiment.evaluation.other_style:
                label += f" ({other})"
                chain.other_cells[stage, name] = self.evaluate(policy, name, other, chain.seed, label)

    def learn(
        self,
        policy: str | None,
        filter: str | None,
        tasks: tuple[str, ...],
        earlier: tuple[str, ...],
        method: Method,
        seed: int,
        label: str,
    ) -> str:
        inputs = {
            "policy": policy or self.base,
            "filter": filter,
            "base": self.base if method.looks_at == "base" else None,
            "method": method.determining(tasks),
            "iterations": method.iterations_on(tasks),
            "tasks": [self.data(task, "train") for task in tasks],
            "template": self.experiment.prompts[method.style],
            "seed": seed,
        }
        if method.shards > 1:
            inputs["shards"] = method.shards_version
        if method.shows_answer:
            inputs["hint"] = self.experiment.hint
        versions = {strategy.name: strategy.results_version(method) for strategy in method.retention}
        if later := {name: version for name, version in versions.items() if version > 1}:
            inputs["strategies"] = later
        if any(strategy.rehearses for strategy in method.retention):
            inputs["earlier"] = [self.data(task, "train") for task in earlier]
        if self.experiment.model.trains_bfloat16:
            inputs["optimizer_state"] = method.optimizer_state
        if (counted := self.experiment.model.operations_version) > 1:
            inputs["operations"] = counted
        stream = ("stage", seed, *tasks)
        return self.add(Job("learn", inputs, policy, tasks, method, method.style, stream, label, filter))

    def filter(self, policy: str | None, tasks: tuple[str, ...], method: RFT, seed: int, label: str) -> str:
        inputs = {
            "policy": policy or self.base,
            "samples": method.filter_samples,
            "sampling": method.sampling.model_dump(mode="json"),
            "micro_batch": method.micro_batch,
            "tasks": [self.data(task, "train") for task in tasks],
            "style": method.style,
            "template": self.experiment.prompts[method.style],
            "seed": seed,
        }
        if method.sampler is not None:
            inputs["sampler"] = method.sampler.determining(learns=False)
        stream = ("filter", seed, *tasks)
        return self.add(Job("filter", inputs, policy, tasks, method, method.style, stream, label))

    def evaluate(self, policy: str | None, task: str, style: Style, seed: int, label: str) -> str:
        evaluation = self.experiment.evaluation
        inputs = {
            "policy": policy or self.base,
            "tasks": [self.data(task, evaluation.split)],
            "style": style,
            "template": self.experiment.prompts[style],
            "sampling": evaluation.sampling().model_dump(mode="json"),
            "batch": evaluation.batch if self.here else None,
            "seed": seed if evaluation.temperature > 0 else None,  # greedy answers need no chance
        }
        if evaluation.sampler is not None:
            inputs["sampler"] = evaluation.sampler.determining(learns=False)
        stream = ("evaluate", inputs["seed"], task)
        return self.add(Job("evaluate", inputs, policy, (task,), None, style, stream, label))

    def measures(self, chain: Chain, stages: Sequence[tuple[str, ...]]) -> None:
        """What is measured of a chain besides accuracy: jobs that load its policies and change nothing."""
        for stage, tasks in enumerate(((), *stages)):
            moment = Moment(
                experiment=self.experiment,
                method=chain.settings,
                base=self.base,
                stage=stage,
                policies=(None, *chain.learn[:stage]),
                earlier=tuple(task for past in stages[: max(stage - 1, 0)] for task in past),
                new=tasks,
                is_last=stage == len(stages),
                data=self.data,
            )
            for measure in self.experiment.measures.values():
                if not self.experiment.measured(measure, chain.method) or stage < measure.first_stage:
                    continue
                if (request := measure.asked(moment)) is not None:
                    jobs = chain.measures.setdefault(measure.name, {})
                    jobs[stage] = self.measure(measure, request, chain, stage)

    def measure(self, measure: Measure, request: Request, chain: Chain, stage: int) -> str:
        style = chain.settings.style
        inputs = {
            "policy": request.policy or self.base,
            **request.inputs,
            "settings": measure.determining(),
            "sampling": self.experiment.evaluation.measuring().model_dump(mode="json"),
            "batch": self.experiment.evaluation.batch,
            "style": style,
            "template": self.experiment.prompts[style],
            "seed": chain.seed,
        }
        if measure.reference is not None:
            inputs["measure"] = measure.reference
        return self.add(
            Job(
                measure.kind,
                inputs,
                request.policy,
                request.tasks,
                chain.settings,
                style,
                stream=(measure.name, chain.seed, *request.tasks),
                label=f"{chain.method} seed {chain.seed} stage {stage}: {measure.name}",
                others=request.others,
                measure=measure,
            )
        )

    def data(self, name: str, split: Split, most: int | None = None) -> dict[str, Any]:
        """What determines a split of a task (or its first examples, `most` of them)."""
        task = self.tasks[name]
        count = self.experiment.count(task, split)
        if most is not None:
            count = most if count is None else min(most, count)
        return {
            "name": name,
            **facts(task),
            "split": split,
            "count": count,
            **({"without": passed} if (passed := task.passed_over(split, count)) else {}),
        }

    def add(self, job: Job) -> str:
        """The fingerprint of a job, with what determines every job among its inputs; of equal ones the
        first stays."""
        self.asked += 1
        maker = job.measure or (job.method if job.kind == "learn" else None)
        version = VERSIONS[job.kind] if maker is None else maker.version
        inputs = {"kind": job.kind, "version": version, "threads": self.experiment.threads, **job.inputs}
        inputs = plugins.identify(inputs)
        name = digest(inputs)
        if name not in self.jobs:
            self.jobs[name] = replace(job, inputs=inputs, fingerprint=name)
        return name
