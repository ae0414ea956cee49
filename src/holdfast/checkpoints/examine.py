"""Letting a checkpoint answer tasks: `evaluate` jobs of the store that experiments use.

What an experiment, or an earlier call, has asked the same checkpoint in the same way is not asked again;
and the other way round.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from holdfast.checkpoints.folder import Examined, check_owner, export, questions_of
from holdfast.checkpoints.subject import Subject
from holdfast.config.exam import Exam
from holdfast.errors import HoldfastError, retold
from holdfast.experiment.jobs import Busy, OnSetting, Runner
from holdfast.experiment.mirror import open_store
from holdfast.experiment.plan import Job
from holdfast.experiment.schedule import MOST_DAMAGE, RETRY_SECONDS
from holdfast.experiment.store import Damaged, Store
from holdfast.generate.evaluate import Enough, OnStep, Watch
from holdfast.generate.setting import setting_of
from holdfast.tasks.leftout import LeftOut

log = logging.getLogger(__name__)


def examine(
    subject: Subject,
    exam: Exam,
    folder: Path | None = None,
    *,
    again: bool = False,
    on_step: Callable[[str], OnStep] = lambda _: lambda *_: None,
    on_task: Callable[[Examined], None] = lambda _: None,
    on_left_out: Callable[[Sequence[LeftOut]], None] = lambda _: None,
    watch: Callable[[str], Watch] | None = None,
    on_setting: OnSetting = lambda *_: None,
) -> list[Examined]:
    """Let a checkpoint answer the tasks of an exam that it has not answered yet.

    Args:
        folder: where records and tables are written to besides; it holds those of one checkpoint.
        again: also what it has answered.
        on_step: gives what is told the progress of a task.
        on_task: is told every task's answers.
        on_left_out: is told which rows are not asked, as the checkpoint cannot take them.
        watch: gives what looks at a task's answers and may end it before all of its items are answered.
        on_setting: is told the setting of a task's answers: of new ones before the first question.

    Raises:
        InputError: the folder belongs to another checkpoint.
        HoldfastError: generating failed. Tasks that were done stay, and so does what was answered.
    """
    if folder is not None:
        check_owner(folder, subject.name)
    store = open_store(exam)
    store.prepare()
    plan = subject.plan(exam)
    on_left_out(plan.left_out)
    if again:
        for job in plan.jobs.values():
            store.remove(job)
    load = cache(subject.load)
    runner = Runner(exam, plan, store, load, model=subject.model, watch=watch, on_setting=on_setting)
    store.use(plan.jobs.values())
    examined: list[Examined] = []
    try:
        for job in plan.jobs.values():
            (task,) = job.tasks
            try:
                one = _examined(job, subject.name, runner, store, on_step(task))
                if one.reused and (served := (one.setting or {}).get("served")) is not None:
                    recall = getattr(load(), "recall", lambda _: None)
                    recall(served | {"fingerprints": []})  # which are of each task by itself
                examined.append(replace(one, asked=exam.asking(task), weights=subject.weights))
            except HoldfastError as error:
                text = f"Task {task}: {str(error).rstrip('.')}."
                if examined or (store.work(job) / "rows.jsonl").exists():
                    text += " What was answered is kept; the same command goes on from there."
                raise retold(error, text) from None
            if folder is not None:
                export(examined, folder)
            on_task(examined[-1])
    finally:
        store.end_use()
        load.cache_clear()  # frees the memory that a model takes
    return examined


def _examined(job: Job, name: str, runner: Runner, store: Store, on_step: OnStep) -> Examined:
    """The answers in the store, asked for if they are not there."""
    damages, waits, reused, made, start = 0, False, True, time.time(), time.perf_counter()
    result: dict[str, Any] | None = None
    while True:
        try:
            reused = runner.run(job, weights=False, on_step=on_step) == 0 and reused
            records = store.rows(job, "records.jsonl")
            result = store.result(job)
            if reused:
                runner.on_setting(job.tasks[0], result.get("setting"))
            made = store.folder(job).stat().st_mtime
            runner.watch(job.tasks[0])(dict(enumerate(records)))
            break
        except Enough as enough:  # of those that are there, or while others were asked
            records = enough.records
            break
        except Busy as busy:
            if not waits:
                log.warning("%s", busy)
                waits = True
            time.sleep(RETRY_SECONDS)
        except Damaged as damage:
            damages += 1
            if damages == MOST_DAMAGE:
                raise HoldfastError(f"{damage}, again and again; check the disk") from None
            store.set_aside(job)
    if result is None:
        assert runner.load is not None, "a checkpoint is examined by what it loads"
        seconds = time.perf_counter() - start
        result = {"seconds": seconds, "setting": setting_of(runner.load(), job.inputs["batch"])}
        reused = False
    return Examined(
        task=job.tasks[0],
        checkpoint=name,
        inputs=questions_of(job, len(records)),
        records=records,
        seconds=result["seconds"],
        made=made,
        fingerprint=job.fingerprint,
        reused=reused,
        left_out=tuple(result.get("left_out", ())),
        setting=result.get("setting"),
    )
