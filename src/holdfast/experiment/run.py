"""Running the jobs of a plan: the loop between what is ready (the schedule) and who does it (an executor).

The results do not depend on where jobs are done. A job that fails takes only its dependants with it;
everything that was done stays done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from holdfast import plugins
from holdfast.config.experiment import Experiment
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment import failures, presence
from holdfast.experiment.executor import Event, Executor, executor_class
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.progress import Progress
from holdfast.experiment.remote import Unreachable
from holdfast.experiment.schedule import RETRY_SECONDS, Schedule
from holdfast.experiment.store import Damaged, Store

IDLE_SECONDS = 60.0  # without a worker that is idle, until it is said


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        done: jobs that were done now.
        failed: label and message of jobs that failed.
        skipped: jobs that could not start because of them.
    """

    done: int
    failed: dict[str, str]
    skipped: int


def run(
    experiment: Experiment,
    plan: Plan,
    store: Store,
    workers: int,
    progress: Progress,
    debug: bool = False,
    on_event: Callable[[Job, Event], object] = lambda job, event: None,
) -> Outcome:
    """Do every job that has no result yet.

    Args:
        on_event: is told what workers say, before it is acted upon.

    Raises:
        InputError: there is no such executor, torch cannot use the device, workers cannot share the store, or
            another machine works on it and its locks are not seen.
        HoldfastError: the store cannot be written or reached any more.
        KeyboardInterrupt: asked to stop; the workers are gone, and a new run goes on from here.
    """

    def on_damage(job: Job, damage: Damaged) -> None:
        progress.message(f"Damaged result, done again: {job.label} ({damage}).")

    make = executor_class(experiment.executor)
    schedule = Schedule(experiment, plan, store, on_damage)
    costs = schedule.costs()
    if not costs:
        return Outcome(0, {}, 0)
    workers = min(workers, len(costs))
    if workers > 1 or experiment.executor != "local":
        _check_shared(experiment.store)
    try:
        beside = presence.announced(store, progress.message)
        own = experiment.executor if plugins.is_reference(experiment.executor) else None
        with plugins.blamed(own, about="its start"):
            executor = make(experiment, plan, store, workers)
        state = _Run(executor, schedule, progress, debug, on_event)
        try:
            with beside, progress.running(costs, executor.where, already=len(plan.jobs) - len(costs)):
                state.work()
        finally:
            executor.stop()
    finally:
        store.end_leases()
    failed = {plan.jobs[name].label: message for name, message in schedule.failed.items()}
    return Outcome(state.done, failed, len(schedule.skipped))


def _check_shared(place: Path | str) -> None:
    """See that what one process puts into a store is there for others.

    Raises:
        InputError: it is not.
    """
    if str(place).startswith("memory://"):
        raise InputError(
            f"The store {place} is in the memory of this process, where no other worker's results would be. "
            "Take --workers 1 and executor: local, or a store on a disk or in a bucket."
        )


@dataclass
class _Run:
    executor: Executor
    schedule: Schedule
    progress: Progress
    debug: bool
    on_event: Callable[[Job, Event], object]
    done: int = 0
    warned: set[str] = field(default_factory=set)
    told_busy: bool = False
    seen: float = field(default_factory=time.monotonic)  # when a worker was idle last

    def work(self) -> None:
        while self.schedule.open() or self.schedule.running:
            self.hand_out()
            if self.schedule.running:
                self.executor.listen(self.settle)
                continue
            name = self.schedule.experiment.executor
            if time.monotonic() - self.seen > IDLE_SECONDS and plugins.is_reference(name):
                self.progress.message(
                    f"Nothing is done: {name} has had no idle worker for {IDLE_SECONDS:g} s."
                )
                self.seen = float("inf")  # once
            time.sleep(RETRY_SECONDS)

    def hand_out(self) -> None:
        for worker in self.executor.idle():
            self.seen = max(self.seen, time.monotonic())
            job = self.schedule.take(worker.held, self.executor.workers)
            if job is None:
                return
            self.progress.start(job)
            failures.note(self.executor.store, job, None)
            self.executor.give(worker, job, self.schedule.needs_weights(job))

    def settle(self, job: Job, event: Event) -> None:
        """Take note of what a worker says."""
        self.on_event(job, event)
        if event.is_last:
            self.progress.end(job, event.kind == "done", event.seconds)
        match event.kind:
            case "step":
                self.progress.step(job, event.step, event.steps, event.numbers)
            case "warning":
                self._warn(job, event.message)
            case "done":
                self.done += event.seconds > 0
                self.schedule.done(job)
            case "busy":
                if event.message and not self.told_busy:  # once: runs that share a store meet all the time
                    self.progress.message(event.message)
                    self.told_busy = True
                self.schedule.busy(job)
            case "damaged":
                self.schedule.damaged(job, Damaged(event.damaged, event.message))
                self.progress.expect(self.schedule.costs())
            case "disk":
                raise HoldfastError(
                    f"{event.message.rstrip('.')}. Results so far are safe in {self.executor.store.place}; "
                    "make room there and run the same command again."
                )
            case "away":
                raise Unreachable(event.message)
            case _:
                self._fail(job, event)

    def _fail(self, job: Job, event: Event) -> None:
        # Without the job's own name, so that jobs that fail alike say the same.
        said = event.message or f"its worker said '{event.kind}', and not why"
        said = said.replace(f" failed on {job.label}:", " failed:")
        self.schedule.fail(job, said)
        failures.note(self.executor.store, job, said)
        self.progress.message(f"Failed: {job.label}: {said}")
        if self.debug and event.details:
            self.progress.message(event.details)

    def _warn(self, job: Job, message: str) -> None:
        """Say a warning once; what other jobs of their own were warned of, without what to do about it."""
        if message in self.warned:
            return
        reason = message.removeprefix(f"{job.label}: ")
        repeated = reason != message and reason in self.warned
        self.warned |= {message, reason}
        self.progress.message(
            f"{job.label}: {reason.partition('. ')[0].rstrip('.')}." if repeated else message
        )
