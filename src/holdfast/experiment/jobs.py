"""Doing one job: load the policy; learn, filter, evaluate or measure; put the result in the store."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import files, plugins
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment.inputs import Inputs
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.provenance import provenance
from holdfast.experiment.store import WEIGHTS, Store
from holdfast.generate.generator import Asking
from holdfast.learning.methods import RFT, Method
from holdfast.policy.cache import ByteCache
from holdfast.policy.device import torch_settled
from holdfast.policy.settings import ModelSettings
from holdfast.rowlog import RowLog
from holdfast.tasks.example import Example, held_bytes
from holdfast.tasks.task import Split, Task
from holdfast.versions import package_versions

if TYPE_CHECKING:
    import torch

    from holdfast.generate.evaluate import OnStep, Watch
    from holdfast.generate.generator import Generator
    from holdfast.generate.served import ServedGenerator
    from holdfast.generate.settings import Served
    from holdfast.learning.stage import Stage
    from holdfast.policy.policy import Policy
    from holdfast.policy.team import Team

log = logging.getLogger(__name__)

EXAMPLE_BYTES = 64 << 20  # of examples that are kept for later jobs; sets that do not fit are read again
OnSetting = Callable[[str, dict[str, Any] | None], None]  # a task; what `setting_of` says, None if not noted
RETENTION = "retention"  # beside the weights, and gone with them: what strategies leave to the next stage


class Busy(Exception):
    """Another process is doing this job."""


class Runner:
    """Does jobs in this process, and keeps the last policy loaded.

    A policy is always loaded from its files, never handed on from the job that trained it: so a
    result does not depend on which process did what before.

    Args:
        load: gives what answers in evaluations, where that is not a policy of the experiment.
        team: who learn stages together; all else the rank that leads does alone.
        model: how that is loaded, where it is known.
        watch: gives what looks at the answers of a task while they come, and may end it (`Enough`).
        on_setting: is told the setting in which a task will be answered, before its first question.
    """

    def __init__(
        self,
        experiment: Experiment,
        plan: Plan,
        store: Store,
        load: Callable[[], Generator] | None = None,
        team: Team | None = None,
        model: ModelSettings | None = None,
        watch: Callable[[str], Watch] | None = None,
        on_setting: OnSetting = lambda *_: None,
    ) -> None:
        from holdfast.policy.team import Team

        plugins.check_unchanged(plan.code)
        self.experiment = experiment
        self.plan = plan
        self.store = store
        self.held: str | None = None  # fingerprint of the policy in memory, or of the one just trained
        self._policy: Policy | None = None
        self.load = load
        self.team = team or Team()
        self.model = experiment.model if load is None else model
        self.watch = watch or (lambda task: lambda records: None)
        self.on_setting = on_setting
        self.inputs = Inputs(experiment, plan)
        self.task = cache(self.inputs.task)
        self._kept_examples: ByteCache[list[Example]] = ByteCache(EXAMPLE_BYTES)

    def run(self, job: Job, weights: bool, on_step: OnStep) -> float:
        """Do one job, if it is still to do; seconds it took.

        Args:
            weights: a `learn` result without its weights does not count as done.

        Raises:
            Busy: another process is at it.
            Damaged: the result of a parent cannot be used.
            HoldfastError: it failed.
        """
        with self.store.lock(job) as mine:
            if not mine:
                raise Busy(
                    f"Another process is at {job.label}. What it finds is taken; with nothing else to do, "
                    "this one waits for it."
                )
            if self.store.begin(job, weights):
                return 0.0
            work = self.store.work(job)
            if os.path.lexists(work) and not work.is_dir():
                self._set_aside(job, f"{work} is not a folder")
            start = time.perf_counter()

            def on_kept_step(step: int, steps: int, numbers: dict[str, float]) -> None:
                self.store.keep_work(job)
                on_step(step, steps, numbers)

            with torch_settled(self.experiment.threads):
                match job.kind:
                    case "learn":
                        self.team.call(job.fingerprint)
                        self._learn_together(job.fingerprint, on_kept_step)
                    case "filter":
                        self._filter(job, on_kept_step)
                    case "evaluate":
                        self._evaluate(job, on_kept_step)
                    case _:
                        self._measure(job)
            return time.perf_counter() - start

    def follow(self) -> None:
        """Be a rank that does not lead: learn the stages that it is called to, until there are no more.

        Raises:
            TeamLost: a rank died or does not answer.
        """
        from holdfast.policy.team import TeamLost

        while (name := self.team.called()) is not None:
            try:
                with torch_settled(self.experiment.threads):
                    self._learn_together(name, lambda *_: None)
            except TeamLost:
                raise
            except Exception as error:  # the rank that leads has it, too, and tells it
                log.debug("%s: %s", name, error)

    def _learn_together(self, name: str, on_step: OnStep) -> None:
        """Learn a stage with the other ranks, which a person may have started otherwise."""
        ours = self.experiment
        settings = {key: getattr(ours, key) for key in ("shard", "checkpoint_every", "threads")}
        stage = {"The stage": name[:12] if name in self.plan.jobs else "not known"}
        self.team.check_started_alike(package_versions() | settings | stage)
        self.team.do(partial(self._learn, self.plan.jobs[name], on_step))

    def _learn(self, job: Job, on_step: OnStep) -> None:
        from holdfast.learning.curve import nothing_right
        from holdfast.learning.loop import learn

        stage, facts = self._stage(job)
        self.inputs.check_files(job)  # before strategies read theirs
        work, every = self.store.work(job), self.experiment.checkpoint_every
        on_damage = partial(self._set_aside, job)
        totals, left = learn(stage, folder=work, checkpoint_every=every, on_step=on_step, on_damage=on_damage)
        if not self.team.leads:
            return
        if warning := nothing_right(files.read_jsonl(work / "metrics.jsonl")):
            log.warning("%s: %s", job.label, warning)
        with self._writing(job) as folder:
            stage.policy.save(folder / WEIGHTS)
            _leave(left, folder / WEIGHTS)
            shutil.copyfile(work / "metrics.jsonl", folder / "metrics.jsonl")
            files.write_json(folder / "result.json", {**facts, **totals})
        self.held = job.fingerprint  # still to be loaded, but its files are at hand here

    def _stage(self, job: Job) -> tuple[Stage, dict[str, int]]:
        """What a `learn` job learns, its policy loaded; and how many examples there are, and were kept."""
        from holdfast.learning.filters import select
        from holdfast.learning.stage import Stage

        method = job.method
        assert method is not None, "only evaluations have none"
        items, iterations = self._training_items(job), job.inputs["iterations"]
        facts = {"available": len(items)}
        if job.filter is not None and isinstance(method, RFT):
            rows = self.store.rows(self.plan.jobs[job.filter], "records.jsonl")
            items = [items[index] for index in select(method.filter, rows, job.stream)]
            facts["kept"] = len(items)
            if method.filter_shortens:
                iterations = max(1, iterations * len(items) // facts["available"])
        policy = self.policy_of(job)
        self.held = self._policy = None  # it is about to change
        stage = Stage(
            policy=policy,
            items=items,
            method=method,
            iterations=iterations,
            templates=self.experiment.prompts,
            stream=job.stream,
            load_base=self.load_base,
            hint=self.experiment.hint,
            earlier={
                task["name"]: self.items(task["name"], "train") for task in job.inputs.get("earlier", ())
            },
            inherited=self._inherited(job, method),
            sampler=self._served(job, policy, method.sampler) if isinstance(method, RFT) else None,
            team=self.team,
            shard=self.experiment.shard,
        )
        return stage, facts

    def _inherited(self, job: Job, method: Method) -> dict[str, dict[str, torch.Tensor]]:
        """What the strategies of a method left at the end of the stage before, by their names."""
        from safetensors.torch import load_file

        if job.policy is None or not method.retention:
            return {}
        folder = self.weights_of(job.policy) / RETENTION
        return {
            strategy.name: load_file(path)
            for strategy in method.retention
            if (path := folder / f"{strategy.name}.safetensors").exists()
        }

    def _filter(self, job: Job, on_step: OnStep) -> None:
        from holdfast.learning.filters import pass_rates

        method, kept = job.method, self._kept(job)
        assert isinstance(method, RFT), "only RFT filters"
        rows = pass_rates(
            self._generator(job, method.sampler),
            self._training_items(job),
            method,
            templates=self.experiment.prompts,
            stream=job.stream,
            on_step=on_step,
            kept=kept,
        )
        counts = Counter(row["correct"] for row in rows)
        result = {
            "examples": len(rows),
            "histogram": [counts[right] for right in range(method.filter_samples + 1)],
            "seconds": kept.seconds,
        }
        with self._writing(job) as folder:
            files.write_jsonl(folder / "records.jsonl", rows)
            files.write_json(folder / "result.json", result)

    def _evaluate(self, job: Job, on_step: OnStep) -> None:
        from holdfast.generate.evaluate import evaluate
        from holdfast.generate.setting import setting_of

        task, kept = self.task(job.tasks[0]), self._kept(job)
        sampler = self.experiment.evaluation.sampler
        generator = self._generator(job, sampler) if self.load is None else self.load()
        self.on_setting(task.name, setting_of(generator, job.inputs["batch"]))
        records = evaluate(
            generator,
            task,
            self.examples(job.tasks[0], self.experiment.evaluation.split),
            replace(self.asking(job), batch=job.inputs["batch"]),
            on_step=on_step,
            kept=kept,
            watch=self.watch(task.name),
        )
        result = {
            "examples": len(records),
            "accuracy": sum(record["score"] for record in records) / len(records),
            "seconds": kept.seconds,
            "setting": setting_of(generator, job.inputs["batch"]),
        }
        if left_out := getattr(generator, "left_out", None):  # of a server
            result["left_out"] = sorted(left_out)
        with self._writing(job) as folder:
            files.write_jsonl(folder / "records.jsonl", records)
            files.write_json(folder / "result.json", result)

    def _generator(self, job: Job, sampler: Served | None) -> Generator:
        """What answers for the policy of a job: itself, or an engine that has its weights."""
        from holdfast.generate.local import LocalGenerator

        policy = self.policy_of(job)
        if (served := self._served(job, policy, sampler)) is None:
            return LocalGenerator(policy)
        served.refresh()
        return served

    def _served(self, job: Job, policy: Policy, sampler: Served | None) -> ServedGenerator | None:
        if sampler is None:
            return None
        from holdfast.generate.served import ServedGenerator

        return ServedGenerator(sampler, policy, self.store.work(job) / "served")

    def _measure(self, job: Job) -> None:
        """Small facts about policies, which stay as they are."""
        assert job.measure is not None
        start = time.perf_counter()
        try:
            result = job.measure.result(job, self)
        finally:
            if job.measure.reference is not None:
                self.held = self._policy = None  # the user's code may have changed it
        with self._writing(job) as folder:
            files.write_json(folder / "result.json", result | {"seconds": time.perf_counter() - start})

    def _kept(self, job: Job) -> RowLog:
        """What the job had found when it was killed, if it was."""
        return RowLog(self.store.work(job) / "rows.jsonl", on_damage=partial(self._set_aside, job))

    def _set_aside(self, job: Job, damage: str) -> None:
        """Move what the job had kept out of the way."""
        where = self.store.set_aside_work(job)
        log.warning("Damaged unfinished work of %s: %s. It is kept in %s.", job.label, damage, where)

    @contextmanager
    def _writing(self, job: Job) -> Iterator[Path]:
        """As `Store.writing`, where all that the job read is still what its fingerprint says.

        What it has found of other pictures must not be gone on from under this name.
        """
        try:
            self.inputs.check_files(job)
        except InputError:
            self.store.clear_work(job)
            raise
        with self.store.writing(job, provenance(self.experiment.threads, self.model)) as folder:
            yield folder

    def policy_of(self, job: Job) -> Policy:
        """The policy the job starts from, in memory; loaded unless it is the one held."""
        if self.held != job.starts_from or self._policy is None:
            self.held = self._policy = None  # free the memory first
            self._policy = self.load_base() if job.policy is None else self.load_trained(job.policy)
            self.held = job.starts_from
        return self._policy

    def load_base(self) -> Policy:
        """The base model.

        Raises:
            InputError: it is not that of the plan.
        """
        return self._load_policy(self.experiment.model.path, on_base=True)

    def load_trained(self, name: str) -> Policy:
        """The policy a `learn` job made.

        Raises:
            Damaged: its weights cannot be used.
            InputError: they are adapters, and the base is not that of the plan.
        """
        return self._load_policy(self.weights_of(name), on_base=self.experiment.model.lora is not None)

    def _load_policy(self, source: str | Path, on_base: bool) -> Policy:
        from holdfast.policy.policy import Policy

        if not on_base:
            return Policy.load(source, self.experiment.model)
        self.inputs.check_base()
        policy = Policy.load(source, self.experiment.model)
        self.inputs.check_base()
        return policy

    def weights_of(self, name: str) -> Path:
        """The folder with the weights a `learn` job made."""
        return self.store.verify(self.plan.jobs[name], WEIGHTS) / WEIGHTS

    def asking(self, job: Job, *names: object) -> Asking:
        """How evaluations ask, in the job's style; answers are drawn from its stream, and names within it."""
        judge, stream = self.experiment.evaluation, (*job.stream, *names)
        return Asking(job.style, self.experiment.prompts, judge.sampling(), stream, judge.batch)

    def asked(self, job: Job) -> dict[str, list[tuple[Task, Example]]]:
        """The examples that a measure asked for, by task."""
        return {
            data["name"]: self.items(data["name"], data["split"], data["count"])
            for data in job.inputs["tasks"]
        }

    def _training_items(self, job: Job) -> list[tuple[Task, Example]]:
        return [item for name in job.tasks for item in self.items(name, "train")]

    def items(self, name: str, split: Split, most: int | None = None) -> list[tuple[Task, Example]]:
        """The examples of a task with it, or the first of them."""
        return [(self.task(name), example) for example in self.examples(name, split, most)]

    def examples(self, name: str, split: Split, most: int | None = None) -> list[Example]:
        """The examples of a task, or the first of them."""
        known = self._kept_examples.get((name, split))
        if known is None:
            known = self.inputs.examples(self.task(name), split)
            self._kept_examples.put((name, split), known, sum(map(_bytes, known)))
        return known[:most]


def _leave(left: dict[str, dict[str, torch.Tensor]], weights: Path) -> None:
    """Write what strategies leave to the next stage beside the weights."""
    from safetensors.torch import save_file

    for name, tensors in left.items():
        path = weights / RETENTION / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file({key: tensor.contiguous().cpu() for key, tensor in tensors.items()}, path)


def _bytes(example: Example) -> int:
    """About what an example takes in memory."""
    texts = (example.prompt, example.answer, example.rationale, *example.choices, *example.references)
    return 1024 + sum(map(len, texts)) + sum(map(held_bytes, example.images))
