"""Jobs on this machine, in this process or in several."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from holdfast.config.experiment import Experiment
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment.devices import Place, places, ranks, spread
from holdfast.experiment.executor import Event, Executor, Packed, attempt, pack, unpack
from holdfast.experiment.forked import context_for, unheard, without_script
from holdfast.experiment.jobs import Runner
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.schedule import RETRY_SECONDS
from holdfast.experiment.store import Store


def local(experiment: Experiment, plan: Plan, store: Store, workers: int) -> Executor:
    """This process for one worker on one device, or where it was started as a rank; else several.

    Raises:
        InputError: as `places`, or a stage is to have more cards than there are.
    """
    alone = workers == 1 and (experiment.devices == 1 or ranks() > 1)
    return (Here if alone else Processes)(experiment, plan, store, workers)


class Here(Executor):
    """All jobs in this process, one after the other; where it was started as a rank, the others help it."""

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, workers: int) -> None:
        from holdfast.policy.rendezvous import team_of_environment

        super().__init__(experiment, plan, store, 1)
        self._places = places(experiment.model.device)
        self._runner = Runner(experiment, plan, store, team=team_of_environment())
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
    """Jobs in processes; process i of them computes on place i mod n, as does one in a dead one's place.

    A worker of several devices is as many processes, the ranks of a team, with the next places.
    """

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, workers: int) -> None:
        super().__init__(experiment, plan, store, workers)
        self._places = places(experiment.model.device)
        each = experiment.devices
        if self._places[0].on_gpu and each > len(self._places):
            raise InputError(
                f"devices: {each} cards are to learn a stage, and there are {len(self._places)}."
            )
        packed = pack(experiment, plan)
        turns = [self._places[turn % len(self._places)] for turn in range(workers * each)]
        self._workers = [_Worker(turns[first : first + each], packed) for first in range(0, len(turns), each)]

    @property
    def where(self) -> str:
        count = self.workers * self.experiment.devices
        return f"in {count} processes" + _cards(count, self._places)

    def idle(self) -> list[_Worker]:
        """Those that run come first: they need not be started."""
        idle = [worker for worker in self._workers if worker.job is None]
        return sorted(idle, key=lambda worker: not worker.lives())

    def give(self, worker: _Worker, job: Job, weights: bool) -> None:
        worker.give(job, weights)

    def listen(self, tell: Callable[[Job, Event], None]) -> None:
        busy = [worker for worker in self._workers if worker.job is not None]
        ready = wait([sign for worker in busy for sign in worker.signs], timeout=RETRY_SECONDS)
        for worker in busy:
            if not set(worker.signs).isdisjoint(ready):
                tell(*worker.hear())

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()


def _cards(workers: int, where: Sequence[Place]) -> str:
    return f" on {spread(workers, where)}" if where[0].on_gpu else ""


class _Worker:
    """A process that does one job at a time, started when there is work for it.

    Args:
        places: what its processes compute on. The first does its jobs; the others help it to learn.
    """

    def __init__(self, places: Sequence[Place], packed: Packed) -> None:
        self.places = places
        self.packed = packed
        self.processes: list[BaseProcess] = []
        self._meeting_point: Any = None
        self.connection: Connection | None = None
        self.job: Job | None = None
        self.held: str | None = None

    def lives(self) -> bool:
        """Whether it runs; one that died while idle is forgotten, with the policy it held."""
        if not all(process.is_alive() for process in self.processes):
            self.stop()
        return bool(self.processes)

    @property
    def signs(self) -> list[Any]:
        """What becomes ready when it says something, or loses a process that its job needs."""
        helpers = self.processes[1:] if self._together else []
        return [*filter(None, [self.connection]), *(one.sentinel for one in helpers)]

    @property
    def _together(self) -> bool:
        """Whether all its processes are at its job: of others than stages the helpers have no part."""
        return self.job is not None and self.job.kind == "learn"

    def start(self) -> None:
        context = context_for(self.places[0].device)
        self.connection, theirs = context.Pipe()
        port = 0
        if len(self.places) > 1:
            from holdfast.policy.rendezvous import meeting_point

            self._meeting_point = meeting_point()
            port = self._meeting_point.port
        for rank, place in enumerate(self.places):
            process = context.Process(
                target=_work,
                args=(None if rank else theirs, (port, rank, len(self.places)), self.packed),
                daemon=True,
            )
            # The environment is inherited, and there before the child imports torch.
            with without_script(), unheard(), _environment(place.environment):
                process.start()
            self.processes.append(process)
        theirs.close()

    def give(self, job: Job, weights: bool) -> None:
        if not self.processes:
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
            event: Event = self.connection.recv() if self.connection.poll() else self._lost_helper()
        except (EOFError, OSError):  # another one takes its place when there is work
            event = Event("failed", message=f"its process {_cause_of_death(self.processes[0])}")
            self.stop()
        if event.kind == "failed" and len(self.processes) > 1:
            event = self._lost_helper(event) if self._together else event
            self.stop()
        if event.is_last:
            self.job, self.held = None, event.held
        return job, event

    def _lost_helper(self, event: Event | None = None) -> Event:
        """A failure, which is that of a helper that died if one did: the others only missed it."""
        from holdfast.policy.rendezvous import word_of

        _, *helpers = self.processes
        ended = set(wait([one.sentinel for one in helpers], timeout=1))
        words, deaths = list[str](), list[str]()
        for rank, helper in enumerate(helpers, 1):
            if helper.sentinel in ended:
                cause = f"its rank {rank} of {len(self.places)} {_cause_of_death(helper)}"
                word = word_of(self._meeting_point, rank)
                (words if word else deaths).append(word or cause)
        deaths.sort(key=lambda cause: "killed" not in cause)
        if event is not None and not deaths:
            return event
        return Event("failed", message=[*deaths, *words][0])

    def stop(self) -> None:
        if self.connection is None:
            return
        self.connection.close()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()
        self.connection = self.held = self._meeting_point = None
        self.processes = []


def _cause_of_death(process: BaseProcess) -> str:
    process.join(timeout=10)
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = " (most likely out of memory: use fewer workers or a smaller micro_batch)"
        return f"was killed by {name}{memory if name == 'SIGKILL' else ''}"
    return f"ended unexpectedly with exit code {code}"


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes started in the block have."""
    before = {name: os.environ[name] for name in changes if name in os.environ}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in changes:
            os.environ.pop(name, None)
        os.environ.update(before)


def _work(connection: Connection | None, place: tuple[int, int, int], packed: Packed) -> None:
    """The life of a worker process.

    Args:
        connection: to the main process; a helper has none.
        place: in its team: a port, its rank, and how many there are.
    """
    from holdfast.policy.rendezvous import join, leave_word

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    sys.stdout = sys.stderr  # what code of the user's prints is no result of a command
    threading.Thread(target=_die_with_parent, daemon=True).start()
    runner, trouble = None, ""
    try:
        runner = unpack(*packed, team=join(*place))
    except HoldfastError as error:  # a file of code is not what it was, say
        trouble = str(error)
    if connection is None:
        try:
            if runner is None:
                raise HoldfastError(trouble)
            runner.follow()
        except HoldfastError as error:
            leave_word(place[0], place[1], str(error))
            sys.exit(1)
        return
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
