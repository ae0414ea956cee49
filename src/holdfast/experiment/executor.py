"""Running the jobs of a plan, in this process or in several.

The results do not depend on how many there are. A job that fails takes only its dependants with
it; everything that was done stays done.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from holdfast import plugins
from holdfast.config.experiment import Experiment
from holdfast.errors import HoldfastError
from holdfast.experiment.devices import Place, places, spread
from holdfast.experiment.jobs import Busy, Runner
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.progress import Progress
from holdfast.experiment.schedule import RETRY_SECONDS, Schedule
from holdfast.experiment.store import Damaged, Store

STEP_SECONDS = 0.2  # at most one message per job in this time
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Event:
    """What a worker says about its job.

    Attributes:
        kind: step, done, busy, damaged, failed, or disk (the store cannot be written: stop).
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
    experiment: Experiment, plan: Plan, store: Store, workers: int, progress: Progress, debug: bool = False
) -> Outcome:
    """Do every job that has no result yet.

    Raises:
        InputError: torch cannot use the device.
        HoldfastError: the store cannot be written any more.
        KeyboardInterrupt: asked to stop; the workers are gone, and a new run goes on from here.
    """

    def on_damage(job: Job, damage: Damaged) -> None:
        progress.message(f"Damaged result, done again: {job.label} ({damage}).")

    schedule = Schedule(experiment, plan, store, on_damage)
    costs = {job.fingerprint: schedule.cost(job) for job in schedule.todo.values()}
    total = len(schedule.todo)
    if not total:
        return Outcome(0, {}, 0)
    workers = min(workers, total)
    where = places(experiment.model.device)
    state = _Run(experiment, plan, store, schedule, progress, debug)
    how = "in this process" if workers == 1 else f"in {workers} processes"
    if where[0].on_gpu:
        how += f" on {spread(workers, where)}"
    try:
        with progress.running(costs, how, already=len(plan.jobs) - total):
            if workers == 1:
                state.here()
            else:
                state.in_processes(workers, where)
    finally:
        store.end_leases()
    failed = {plan.jobs[name].label: message for name, message in schedule.failed.items()}
    return Outcome(state.done, failed, len(schedule.skipped))


class _Run:
    def __init__(
        self,
        experiment: Experiment,
        plan: Plan,
        store: Store,
        schedule: Schedule,
        progress: Progress,
        debug: bool,
    ) -> None:
        self.experiment = experiment
        self.plan = plan
        self.store = store
        self.schedule = schedule
        self.progress = progress
        self.debug = debug
        self.done = 0

    def here(self) -> None:
        """All jobs in this process, one after the other."""
        runner = Runner(self.experiment, self.plan, self.store)
        while self.schedule.open():
            job = self.schedule.take(runner.held, workers=1)
            if job is None:
                time.sleep(RETRY_SECONDS)
                continue
            self.progress.start(job)
            weights = self.schedule.needs_weights(job)
            self.settle(job, attempt(runner, job, weights, partial(self.settle, job)))

    def in_processes(self, count: int, where: Sequence[Place]) -> None:
        """Jobs in `count` processes, which are started when there is work for them.

        Process i of them computes on place i mod n; one that takes a dead one's turn takes its place.
        """
        workers: list[_Worker] = []
        try:
            while self.schedule.open() or self.schedule.running:
                self._hand_out(workers, count, where)
                busy = [worker for worker in workers if worker.job is not None]
                for ready in wait([worker.connection for worker in busy], timeout=RETRY_SECONDS):
                    worker = next(worker for worker in busy if worker.connection is ready)
                    self._hear(worker, workers)
        finally:
            for worker in workers:
                worker.stop()

    def _hand_out(self, workers: list[_Worker], count: int, where: Sequence[Place]) -> None:
        # One that died idle must not get a job; `_hear` finds out about the busy ones.
        workers[:] = [worker for worker in workers if worker.job is not None or worker.process.is_alive()]
        for worker in workers:
            if worker.job is None:
                job = self.schedule.take(worker.held, count)
                if job is not None:
                    self._give(worker, job)
        while len(workers) < count and (job := self.schedule.take(None, count)) is not None:
            turn = min(set(range(count)) - {worker.turn for worker in workers})
            workers.append(_Worker(self.experiment, self.plan, self.store, turn, where[turn % len(where)]))
            self._give(workers[-1], job)

    def _give(self, worker: _Worker, job: Job) -> None:
        self.progress.start(job)
        worker.give(job, self.schedule.needs_weights(job))

    def _hear(self, worker: _Worker, workers: list[_Worker]) -> None:
        assert worker.job is not None
        job = worker.job
        try:
            event: Event = worker.connection.recv()
        except (EOFError, OSError):  # it is dead; another one takes its place when there is work
            workers.remove(worker)
            event = Event("failed", message=worker.cause_of_death())
        if event.kind != "step":
            worker.job = None
            worker.held = event.held
        self.settle(job, event)

    def settle(self, job: Job, event: Event) -> None:
        """Take note of what a worker says."""
        if event.kind == "step":
            self.progress.step(job, event.step, event.steps, event.numbers)
            return
        self.progress.end(job, event.kind == "done", event.seconds)
        if event.kind == "done":
            self.done += event.seconds > 0
            self.schedule.done(job)
        elif event.kind == "busy":
            self.schedule.busy(job)
        elif event.kind == "damaged":
            self.schedule.damaged(job, Damaged(event.damaged, event.message))
        elif event.kind == "disk":
            raise HoldfastError(
                f"{event.message}. Results so far are safe in {self.store.root}; "
                "make room there and run the same command again."
            )
        else:
            self.schedule.fail(job, event.message)
            self.progress.message(f"Failed: {job.label}: {event.message}")
            if self.debug and event.details:
                self.progress.message(event.details)


class _Worker:
    """A process that does one job at a time."""

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, turn: int, place: Place) -> None:
        self.turn = turn
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        # Classes of the user's own can be unpickled once their files are loaded.
        arguments = (theirs, tuple(plan.code), pickle.dumps((experiment, plan)), store.root)
        self.process: BaseProcess = context.Process(target=_work, args=arguments, daemon=True)
        with _environment(place.environment):  # inherited, and there before the child imports torch
            self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.held: str | None = None

    def give(self, job: Job, weights: bool) -> None:
        self.job = job
        with suppress(OSError):  # it is dead, which the next `recv` finds out
            self.connection.send((job.fingerprint, weights))

    def cause_of_death(self) -> str:
        self.process.join(timeout=10)
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            memory = " (most likely out of memory: use fewer workers or a smaller micro_batch)"
            return f"its process was killed by {name}{memory if name == 'SIGKILL' else ''}"
        return f"its process ended unexpectedly with exit code {code}"

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes started in the block have."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(connection: Connection, code: Sequence[str], pickled: bytes, root: Any) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    threading.Thread(target=_die_with_parent, daemon=True).start()
    runner, trouble = None, ""
    try:
        plugins.load_files(code)
        experiment, plan = pickle.loads(pickled)
        runner = Runner(experiment, plan, Store(root))
    except HoldfastError as error:  # a file of code is not what it was
        trouble = str(error)
    while True:
        try:
            name, weights = connection.recv()
            if runner is None:
                connection.send(Event("failed", message=trouble))
            else:
                connection.send(attempt(runner, runner.plan.jobs[name], weights, connection.send))
        except (EOFError, BrokenPipeError):
            return


def _die_with_parent() -> None:
    """End this process at once when the main one is gone, so that a new run finds nobody at work."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def attempt(runner: Runner, job: Job, weights: bool, tell: Callable[[Event], object]) -> Event:
    """Do a job; whatever happens becomes an event."""
    last = [0.0]

    def on_step(step: int, steps: int, numbers: dict[str, float]) -> None:
        now = time.monotonic()
        if now - last[0] >= STEP_SECONDS:
            last[0] = now
            tell(Event("step", step=step, steps=steps, numbers=numbers))

    try:
        event = Event("done", seconds=runner.run(job, weights, on_step))
    except Busy:
        event = Event("busy")
    except Damaged as damage:
        event = Event("damaged", message=str(damage), damaged=damage.fingerprint)
    except BrokenPipeError:
        raise
    except HoldfastError as error:
        event = Event("failed", message=str(error), details=traceback.format_exc())
    except MemoryError:
        event = Event("failed", message="out of memory; use fewer workers or a smaller micro_batch")
    except OSError as error:
        text = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        kind = "disk" if error.errno in _DISK else "failed"
        event = Event(kind, message=text, details=traceback.format_exc())
    except Exception as error:  # a bug, here or in a library, must not take the other jobs with it
        text = f"{type(error).__name__}: {error}"
        full = os.strerror(errno.ENOSPC) in text  # safetensors has its own error for it
        event = Event("disk" if full else "failed", message=text, details=traceback.format_exc())
    return Event(**{**vars(event), "held": runner.held})
