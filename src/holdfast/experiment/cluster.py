"""Jobs on the machines of a Ray cluster, which share the store.

A worker is an actor that keeps its `Runner`, and with it the policy in memory. One that dies, with its
process or its machine, gives its job back; another takes it on from its last checkpoint, as after any kill.
Ray is imported here and nowhere else.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from holdfast import libraries
from holdfast.config.experiment import Experiment
from holdfast.errors import HoldfastError, InputError, shortened
from holdfast.experiment.executor import Event, Executor, Packed, attempt, pack, unpack
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.schedule import RETRY_SECONDS
from holdfast.experiment.store import Store
from holdfast.tasks.prepared import FOLDER_VARIABLE, data_folder
from holdfast.versions import package_versions

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
HEAD_EVERY_SECONDS = 5.0  # how often the head is looked for: without one Ray ends this process in a minute
ROOM_SECONDS = 60.0  # without a machine for a worker, until it is said what is lacking
START_SECONDS = 600.0  # the same with a free one: it may import torch from a slow disk
BUSY_SECONDS = 10.0  # until it is said that all machines are taken; then a run waits for its turn
# Where the hub's files lie, and whether it may be asked: what jobs read from the environment. No tokens: Ray
# shows what it is handed.
HUB = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_ENDPOINT")
PATHS = "PYTHONPATH"
MARK = "locks/ray-"  # a file by which workers see that they have the store of who sent them


class Cluster(Executor):
    """Workers on a Ray cluster: that of `ray.address` or RAY_ADDRESS, else one that is started here.

    Raises:
        InputError: the cluster cannot be reached, or none of its machines has room for a worker.
    """

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, workers: int) -> None:
        self._settings = experiment.ray
        self._address = self._settings.address or os.environ.get("RAY_ADDRESS")
        _connect(self._address)
        self._head: str = ray.get_runtime_context().gcs_address
        self._needs = _needs(experiment)
        room = _room(self._needs)
        if not room:
            ray.shutdown()  # else this process could not connect again
            raise InputError(
                f"No machine of the Ray cluster has what a worker needs ({_words(self._needs)}). Add one, or "
                "ask for less with ray.cpus and ray.gpus."
            )
        super().__init__(experiment, plan, store, min(workers, room))
        self._mark: Path | None = None
        if isinstance(experiment.store, Path):  # a URL names the same place everywhere
            self._mark = store.root / f"{MARK}{uuid.uuid4().hex}"
            self._mark.parent.mkdir(parents=True, exist_ok=True)
            self._mark.touch()
        self._ear = ray.remote(num_cpus=0)(_Ear).remote()
        self._packed = ray.put(pack(experiment, plan))
        self._workers = [self._worker() for _ in range(self.workers)]
        self._lost: Counter[str] = Counter()
        self._unbegun = 0  # workers that died before they began, since one last did
        self._looked = self._begun = time.monotonic()
        self._waits = False  # and that was said

    @property
    def where(self) -> str:
        at = f"at {self._address}" if self._address else "started here"
        return f"by {self.workers} workers on a Ray cluster {at}"

    def _worker(self) -> _Worker:
        environment = {"env_vars": libraries.settings(self.experiment.threads)}
        made = ray.remote(**self._needs, max_restarts=0, runtime_env=environment)(_Actor)
        actor = made.remote(self._packed, self._ear, self._mark, _said_here())
        return _Worker(actor, actor.facts.remote())

    def idle(self) -> list[_Worker]:
        """Those that have begun; one that finds no machine with room is waited for by nobody."""
        waiting = {worker.begins: worker for worker in self._workers if worker.begins is not None}
        for reference in _ready(list(waiting), seconds=0):
            worker = waiting[reference]
            try:
                _check(ray.get(reference), self.store)
                worker.begins = None
                self._begun, self._unbegun = time.monotonic(), 0
            except RayError as error:
                self._unbegun += 1
                if self._unbegun > self._settings.retries * len(self._workers):
                    raise HoldfastError(
                        f"Workers of the Ray cluster die before they begin ({_cause(error)}). See that every "
                        f"machine has Holdfast and what it needs. Results so far are safe in "
                        f"{self.store.place}; run the same command again."
                    ) from None
                self._replace(worker)
        if len(waiting) == len(self._workers):
            self._see_the_head()
            self._wait_for_room()
        else:
            self._begun, self._waits = time.monotonic(), False
        return [worker for worker in self._workers if worker.begins is None and worker.job is None]

    def _wait_for_room(self) -> None:
        """Let time pass in which no worker has begun, or say what is lacking.

        Raises:
            HoldfastError: there is no machine for one, or one that is free does not begin it.
        """
        waited, room = time.monotonic() - self._begun, _room(self._needs)
        if room and waited > BUSY_SECONDS and not _free(self._needs):
            if not self._waits:
                self._waits = True
                log.warning(
                    "All machines of the Ray cluster are taken (a worker needs %s); the run begins when "
                    "there is room. 'ray status' shows what they do.",
                    _words(self._needs),
                )
            self._begun = time.monotonic() - BUSY_SECONDS  # patience is for machines that are free
            return
        patience = START_SECONDS if room else ROOM_SECONDS
        if waited > patience:
            raise HoldfastError(
                f"No machine of the Ray cluster has begun a worker for {patience:.0f} seconds "
                f"(one needs {_words(self._needs)}). Results so far are safe in {self.store.place}; see "
                "'ray status', and run the same command again."
            )

    def give(self, worker: _Worker, job: Job, weights: bool) -> None:
        worker.job, worker.result = job, worker.actor.do.remote(job.fingerprint, weights)

    def listen(self, tell: Callable[[Job, Event], None]) -> None:
        busy = {worker.result: worker for worker in self._workers if worker.result is not None}
        over = _ready(list(busy), seconds=RETRY_SECONDS)
        jobs = {worker.job.fingerprint: worker.job for worker in busy.values() if worker.job}
        for name, event in self._heard():
            if name in jobs:
                tell(jobs[name], event)
        for reference in over:
            worker = busy[reference]
            job = worker.job
            assert job is not None
            try:
                event = ray.get(reference)
            except RayError as error:
                event = self._after_loss(job, error)
                self._replace(worker)
            else:
                worker.job, worker.result, worker.held = None, None, event.held
            tell(job, event)
        self._see_the_head()

    def _heard(self) -> list[tuple[str, Event]]:
        try:
            return ray.get(self._ear.heard.remote(), timeout=RETRY_SECONDS)
        except RayError:  # nobody sees the steps then
            return []

    def _after_loss(self, job: Job, error: RayError) -> Event:
        """A job whose worker died goes to another one, but not for ever."""
        self._lost[job.fingerprint] += 1
        if self._lost[job.fingerprint] <= self._settings.retries:
            return Event("busy")
        times = self._lost[job.fingerprint]
        return Event("failed", message=f"its worker died {times} times; Ray says: {_cause(error)}")

    def _replace(self, worker: _Worker) -> None:
        self._see_the_head(at_once=True)  # without it Ray waits here until it ends this process
        ray.kill(worker.actor)
        self._workers[self._workers.index(worker)] = self._worker()

    def _see_the_head(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if now - self._looked < HEAD_EVERY_SECONDS and not at_once:
            return
        self._looked = now
        if not _answers(self._head):
            self._head = ""
            raise HoldfastError(
                f"The head of the Ray cluster does not answer any more. Results so far are "
                f"safe in {self.store.place}; start the cluster and run the same command again."
            )

    def stop(self) -> None:
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)
        if self._head:  # else Ray would wait for it
            ray.shutdown()  # ends the workers, as they belong to this process


class _Worker:
    """What is known here of an actor.

    Attributes:
        begins: what tells that it has begun; None once it has.
    """

    def __init__(self, actor: Any, begins: Any) -> None:
        self.actor = actor
        self.begins = begins
        self.job: Job | None = None
        self.result: Any = None
        self.held: str | None = None


class _Actor:
    """A worker process, which was started in another folder and another environment than the run.

    Args:
        said: as `_said_here`; what this machine's own environment says goes before.
    """

    def __init__(self, packed: Packed, ear: Any, mark: Path | None, said: dict[str, str]) -> None:
        paths = said.pop(PATHS, "").split(os.pathsep)
        sys.path += [path for path in paths if path and path not in sys.path]
        os.environ.update({name: text for name, text in said.items() if name not in os.environ})
        self._packed, self._ear, self._mark = packed, ear, mark
        self._runner: Any = None

    def facts(self) -> dict[str, Any]:
        """Which machine this is, what it computes with, and whether it has the store."""
        return {
            "host": platform.node(),
            "versions": package_versions(),
            "store": self._mark is None or self._mark.exists(),
        }

    def do(self, name: str, weights: bool) -> Event:
        if self._runner is None:
            try:
                self._runner = unpack(*self._packed)
            except HoldfastError as error:  # a file of code is not what it was
                return Event("failed", message=str(error))

        def tell(event: Event) -> None:
            self._ear.hear.remote(name, event)

        return attempt(self._runner, self._runner.plan.jobs[name], weights, tell)


class _Ear:
    """Takes the steps and warnings that workers tell until they are asked for; an actor as well."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], Event] = {}  # of each job one step, and every warning

    def hear(self, name: str, event: Event) -> None:
        self._latest[name, event.message] = event

    def heard(self) -> list[tuple[str, Event]]:
        latest, self._latest = self._latest, {}
        return [(name, event) for (name, _), event in latest.items()]


def _said_here() -> dict[str, str]:
    """What jobs take from the environment of the run: places of data, of the hub's files and of modules."""
    said = {name: os.environ[name] for name in HUB if name in os.environ}
    paths = filter(None, os.environ.get(PATHS, "").split(os.pathsep))
    modules = os.pathsep.join(str(Path(path).absolute()) for path in paths)
    return {**said, FOLDER_VARIABLE: str(data_folder().absolute()), PATHS: modules}


def _connect(address: str | None) -> None:
    if address and address not in ("auto", "local") and "://" not in address and not _answers(address):
        raise InputError(
            f"There is no Ray cluster at {address} (ray.address, or RAY_ADDRESS). Start one with "
            "'ray start --head', or leave the address out to have one started here."
        )
    ours = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        cause = str(error).strip().split("\n")[0]
        # Ray's `start --head` asks for the token that an earlier `ray.init` left; a client does not send it.
        hint = "" if os.environ.get("RAY_AUTH_MODE") else " If it asks for a token, set RAY_AUTH_MODE=token."
        raise InputError(f"Ray cannot be used (ray.address: {address}): {cause}.{hint}") from None
    if ours is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)  # by Ray's the run would end with a trace, and no word


def _cause(error: RayError) -> str:
    """What Ray says of a worker, in one line: the error that the worker raised, if it did."""
    lines = str(error).strip().split("\n")
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b", line)]
    return shortened([*lines[:1], *raised][-1].rstrip(". "), 300)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True


def _needs(experiment: Experiment) -> dict[str, float]:
    """What a worker takes of a machine."""
    settings = experiment.ray
    gpus = settings.gpus
    if gpus is None:
        there = experiment.model.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
        gpus = 1.0 if there else 0.0
    return {"num_cpus": settings.cpus or float(experiment.threads), "num_gpus": gpus}


def _room(needs: dict[str, float]) -> int:
    """How many workers the machines of the cluster can have."""
    return sum(_times(node["Resources"], needs) for node in ray.nodes() if node["Alive"])


def _free(needs: dict[str, float]) -> bool:
    """Whether the cluster has so much that nobody uses."""
    return _times(ray.available_resources(), needs) > 0


def _times(has: dict[str, float], needs: dict[str, float]) -> int:
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return min(int(has.get(names[key], 0) / need) for key, need in needs.items() if need)


def _words(needs: dict[str, float]) -> str:
    return f"{needs['num_cpus']:g} CPUs" + (f", {needs['num_gpus']:g} GPUs" if needs["num_gpus"] else "")


def _ready(references: list[Any], seconds: float) -> list[Any]:
    """Those that are there: all that are now, or the first one within some seconds."""
    many = 1 if seconds else len(references)
    return ray.wait(references, num_returns=many, timeout=seconds)[0] if references else []


def _check(facts: dict[str, Any], store: Store) -> None:
    """See that a machine gives the same results and has the same store.

    Raises:
        HoldfastError: not so.
    """
    if not facts["store"]:
        raise HoldfastError(
            f"{facts['host']} does not see the store {store.root}. Put it on a disk that all machines of the "
            "cluster share, at the same path: store=FOLDER."
        )
    ours = package_versions()
    for name, version in facts["versions"].items():
        if version != ours.get(name):
            raise HoldfastError(
                f"{facts['host']} has {name} {version}, this machine {ours.get(name)}. Results would not "
                "be the same: install the same versions on all machines."
            )
