"""Running the jobs of a plan: the loop between what is ready (the schedule) and who does it (an executor).

The results do not depend on where jobs are done. A job that fails takes only its dependants with it;
everything that was done stays done.
"""

from __future__ import annotations

import logging
import pickle
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import plugins
from holdfast.config.experiment import Experiment
from holdfast.errors import HoldfastError, InputError, of_disk
from holdfast.experiment import failures, presence
from holdfast.experiment.jobs import Busy, Runner
from holdfast.experiment.mirror import open_store
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.progress import Progress
from holdfast.experiment.remote import Unreachable
from holdfast.experiment.schedule import RETRY_SECONDS, Schedule
from holdfast.experiment.store import Damaged, Store

if TYPE_CHECKING:
    from holdfast.policy.team import Team

CLASSES = {  # loaded when they are used
    "local": "holdfast.experiment.local:local",
    "ray": "holdfast.experiment.cluster:Cluster",
}
PACKAGES = {"ray": "ray"}  # that an executor needs besides
STEP_SECONDS = 0.2  # at most one message per job in this time
IDLE_SECONDS = 60.0  # without a worker that is idle, until it is said


@dataclass(frozen=True)
class Event:
    """What a worker says about its job.

    Attributes:
        kind: step or warning while it goes on; done, busy, damaged, failed, disk (the store cannot be
            written: stop), or away (its place cannot be reached: stop) at its end.
        held: the policy the worker has in memory now.
        details: of a failure, for `--debug`.
    """

    kind: str
    seconds: float = 0.0
    message: str = ""
    details: str = ""
    damaged: str = ""
    held: str | None = None
    step: int = 0
    steps: int = 0
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        """Whether the job is over."""
        return self.kind not in ("step", "warning")


class _Telling(logging.Handler):
    """Tells how a job goes: its warnings, of which the run says each once, and now and then a step."""

    def __init__(self, tell: Callable[[Event], object]) -> None:
        super().__init__(logging.WARNING)
        self.tell = tell
        self._last = 0.0  # step, by the clock

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(Event("warning", message=record.getMessage()))

    def step(self, step: int, steps: int, numbers: dict[str, float]) -> None:
        now = time.monotonic()
        if now - self._last >= STEP_SECONDS:
            self._last = now
            self.tell(Event("step", step=step, steps=steps, numbers=numbers))


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


class Executor(ABC):
    """Where jobs are done: some workers, which share the store and are handed one job each.

    A worker does a job with `attempt`, on a `Runner` that it keeps.

    Args:
        workers: how many there may be.
    """

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, workers: int) -> None:
        self.experiment = experiment
        self.plan = plan
        self.store = store
        self.workers = workers

    @property
    def where(self) -> str:
        """Where jobs are done, in words."""
        return f"by {type(self).__name__}"

    @abstractmethod
    def idle(self) -> Iterable[Any]:
        """Workers that can take a job now.

        Each has an attribute `held`, as `Runner` has: the policy in its memory, whose jobs it had better get.
        """

    @abstractmethod
    def give(self, worker: Any, job: Job, weights: bool) -> None:
        """Have a worker begin a job.

        Args:
            worker: one of `idle`.
            weights: as `Runner.run`.
        """

    @abstractmethod
    def listen(self, tell: Callable[[Job, Event], None]) -> None:
        """Pass on what workers say, for half a second or until one has said something.

        Called while at least one job was given and is not over. A job is over with the first event that
        `is_last`; a worker that dies has `failed`.
        """

    def stop(self) -> None:  # noqa: B027 - not all have something to end
        """End the workers, whatever they are at."""


Packed = tuple[tuple[str, ...], bytes]  # files of the user's code, experiment and plan


def pack(experiment: Experiment, plan: Plan) -> Packed:
    """What another process needs to do jobs."""
    return tuple(plan.code), pickle.dumps((experiment, plan))


def unpack(code: tuple[str, ...], pickled: bytes, team: Team | None = None) -> Runner:
    """What does jobs in this process.

    Raises:
        HoldfastError: a file of the user's code is not what it was, or the store cannot be used from here.
    """
    plugins.load_files(code)  # classes of it can be unpickled then
    experiment, plan = pickle.loads(pickled)
    return Runner(experiment, plan, open_store(experiment), team=team)


def executor_class(name: str) -> Callable[[Experiment, Plan, Store, int], Executor]:
    """What makes the executor of that name.

    Raises:
        InputError: there is none.
    """
    if plugins.is_reference(name):
        return plugins.load_class(name, Executor)
    if (package := PACKAGES.get(name)) and find_spec(package) is None:
        raise InputError(f"executor: {name} needs a package that is not installed: pip install {package}.")
    return plugins.load_own(CLASSES[name])


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


def attempt(runner: Runner, job: Job, weights: bool, tell: Callable[[Event], object]) -> Event:
    """Do a job; whatever happens becomes an event."""
    logger, telling = logging.getLogger("holdfast"), _Telling(tell)
    logger.addHandler(telling)
    try:
        event = Event("done", seconds=runner.run(job, weights, telling.step))
    except Busy as busy:
        event = Event("busy", message=str(busy))
    except Damaged as damage:
        event = Event("damaged", message=str(damage), damaged=damage.fingerprint)
    except BrokenPipeError:
        raise
    except Unreachable as error:
        event = Event("away", message=str(error))
    except HoldfastError as error:
        event = _failure(error, str(error))
    except MemoryError:
        event = Event("failed", message="out of memory; use fewer workers or a smaller micro_batch")
    except OSError as error:
        text = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        event = _failure(error, plugins.fault(error) or text)
    except (Exception, SystemExit) as error:  # a bug, wherever it is, must not take the other jobs with it
        event = _failure(error, plugins.fault(error) or f"{type(error).__name__}: {error}")
    finally:
        logger.removeHandler(telling)
    return replace(event, held=runner.held)


def _failure(error: BaseException, text: str) -> Event:
    """The end of a job by an error that is being handled."""
    kind = "disk" if of_disk(error) else "failed"
    return Event(kind, message=text, details=traceback.format_exc())
