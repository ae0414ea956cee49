"""Jobs on this machine, in this process or in several."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from holdfast.config.experiment import Experiment
from holdfast.errors import HoldfastError
from holdfast.experiment.devices import Place, places, spread
from holdfast.experiment.executor import Event, Executor, Packed, attempt, pack, unpack
from holdfast.experiment.jobs import Runner
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.schedule import RETRY_SECONDS
from holdfast.experiment.store import Store


def local(experiment: Experiment, plan: Plan, store: Store, workers: int) -> Executor:
    """This process for one worker, else one process each."""
    return (Here if workers == 1 else Processes)(experiment, plan, store, workers)


class Here(Executor):
    """All jobs in this process, one after the other."""

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, workers: int = 1) -> None:
        super().__init__(experiment, plan, store, 1)
        self._places = places(experiment.model.device)
        self._runner = Runner(experiment, plan, store)
        self._given: tuple[Job, bool] | None = None

    @property
    def where(self) -> str:
        return "in this process" + _cards(1, self._places)

    def idle(self) -> list[Runner]:
        return [self._runner] if self._given is None else []

    def give(self, worker: Runner, job: Job, weights: bool) -> None:
        self._given = job, weights

    def listen(self, tell: Callable[[Job, Event], None]) -> None:
        assert self._given is not None
        (job, weights), self._given = self._given, None
        tell(job, attempt(self._runner, job, weights, partial(tell, job)))


class Processes(Executor):
    """Jobs in processes; process i of them computes on place i mod n, as does one in a dead one's place."""

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, workers: int) -> None:
        super().__init__(experiment, plan, store, workers)
        self._places = places(experiment.model.device)
        packed = pack(experiment, plan, store)
        self._workers = [
            _Worker(self._places[turn % len(self._places)], packed) for turn in range(workers)
        ]

    @property
    def where(self) -> str:
        return f"in {self.workers} processes" + _cards(self.workers, self._places)

    def idle(self) -> list[_Worker]:
        """Those that run come first: they need not be started."""
        idle = [worker for worker in self._workers if worker.job is None]
        return sorted(idle, key=lambda worker: not worker.lives())

    def give(self, worker: _Worker, job: Job, weights: bool) -> None:
        worker.give(job, weights)

    def listen(self, tell: Callable[[Job, Event], None]) -> None:
        busy = [worker for worker in self._workers if worker.job is not None]
        ready = wait([worker.connection for worker in busy if worker.connection], timeout=RETRY_SECONDS)
        for worker in busy:
            if worker.connection in ready:
                tell(*worker.hear())

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()


def _cards(workers: int, where: Sequence[Place]) -> str:
    return f" on {spread(workers, where)}" if where[0].on_gpu else ""


class _Worker:
    """A process that does one job at a time, started when there is work for it."""

    def __init__(self, place: Place, packed: Packed) -> None:
        self.place = place
        self.packed = packed
        self.process: BaseProcess | None = None
        self.connection: Connection | None = None
        self.job: Job | None = None
        self.held: str | None = None

    def lives(self) -> bool:
        """Whether it runs; one that died while idle is forgotten, with the policy it held."""
        if self.process is not None and not self.process.is_alive():
            self.stop()
        return self.process is not None

    def start(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, self.packed), daemon=True)
        with _environment(self.place.environment):  # inherited, and there before the child imports torch
            self.process.start()
        theirs.close()

    def give(self, job: Job, weights: bool) -> None:
        if self.process is None:
            self.start()
        assert self.connection is not None
        self.job = job
        with suppress(OSError):  # it is dead, which `hear` finds out
            self.connection.send((job.fingerprint, weights))

    def hear(self) -> tuple[Job, Event]:
        """What it says about its job."""
        assert self.connection is not None and self.job is not None
        job = self.job
        try:
            event: Event = self.connection.recv()
        except (EOFError, OSError):  # another one takes its place when there is work
            event = Event("failed", message=self._cause_of_death())
            self.stop()
        if event.is_last:
            self.job, self.held = None, event.held
        return job, event

    def _cause_of_death(self) -> str:
        assert self.process is not None
        self.process.join(timeout=10)
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            memory = " (most likely out of memory: use fewer workers or a smaller micro_batch)"
            return f"its process was killed by {name}{memory if name == 'SIGKILL' else ''}"
        return f"its process ended unexpectedly with exit code {code}"

    def stop(self) -> None:
        if self.process is None or self.connection is None:
            return
        self.connection.close()
        self.process.terminate()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process = self.connection = self.held = None


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


def _work(connection: Connection, packed: Packed) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    threading.Thread(target=_die_with_parent, daemon=True).start()
    runner, trouble = None, ""
    try:
        runner = unpack(*packed)
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
