"""Jobs on a Ray cluster of two nodes on this machine: the same results, whatever of it is killed.

Needs Ray, and a minute or two: `make test-cluster`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiment_helpers import TINY, make_experiment, run_here, snapshot, write_config
from holdfast.errors import HoldfastError

pytest.importorskip("ray", reason="needs Ray: make test-cluster")
pytestmark = pytest.mark.cluster
SMALL: dict[str, Any] = {
    "general": [],
    "train_examples": 8,
    "test_examples": 4,
    "keep_weights": "all",
    "checkpoint_every": 1,
    "defaults": TINY["defaults"] | {"iterations": 8},
}


class Cluster:
    """A head and a second node, each with room for one worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.2", 0))
            self.address = f"127.0.0.2:{probe.getsockname()[1]}"
        self.head = self._start("--head", "--port", self.address.split(":")[1], at="127.0.0.2")
        self.node = self._start("--address", self.address, at="127.0.0.3")

    def _start(self, *arguments: str, at: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
        command += ["--node-ip-address", at, "--disable-usage-stats", *arguments]
        if "--head" in arguments:
            command += ["--include-dashboard", "false", "--temp-dir", str(self.folder)]
        log = (self.folder / f"{at}.log").open("wb")
        started = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        if "--head" in arguments:
            wait_for(lambda: _answers(self.address), 300)
        return started

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """A node with all that runs on it, at once."""
        for one in [*_below(process.pid), process.pid]:
            _signal(one)
        process.wait(20)

    def end(self) -> None:
        for process in (self.node, self.head):
            if process.poll() is None:
                self.kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def token() -> Iterator[None]:
    """What is of this cluster knows its token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = Path("/tmp", f"holdfast-ray-{os.getpid()}-{time.time_ns() % 10**6}")  # sockets need short paths
    folder.mkdir()
    made = Cluster(folder)
    yield made
    made.end()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    ours = make_experiment(tmp_path_factory.mktemp("here"), **SMALL)
    assert not run_here(ours).failed
    return snapshot(ours.store)


class Run:
    """`holdfast run` on a cluster, in a process of its own."""

    def __init__(
        self, folder: Path, address: str, environment: dict[str, str] | None = None, **changes: Any
    ) -> None:
        self.store = folder / "store"
        config = write_config(folder, SMALL | {"executor": "ray", "ray": {"address": address}} | changes)
        command = [sys.executable, "-m", "holdfast", "run", str(config), "--workers", "2", "--no-report"]
        self.log = folder / "run.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=file, cwd=folder, env=os.environ | (environment or {})
            )

    def until_checkpoint(self) -> None:
        """Wait until a stage is under way."""
        found = self.store / "work"
        wait_for(lambda: bool(list(found.glob("*/checkpoint/state.json"))) or self.ended(), 300)
        assert not self.ended(), self.said()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def said(self) -> str:
        return self.log.read_text()

    def result(self, seconds: float = 240) -> int:
        return self.process.wait(seconds)


def test_the_same_results_as_here_though_workers_are_killed(
    cluster: Cluster, expected: Any, tmp_path: Path
) -> None:
    run = Run(tmp_path, cluster.address)
    run.until_checkpoint()
    workers = [one for node in (cluster.head, cluster.node) for one in _below(node.pid) if _is_actor(one)]
    assert workers
    for one in workers:
        _signal(one)
    assert run.result() == 0, run.said()
    assert snapshot(run.store) == expected


def test_a_node_that_dies_leaves_its_jobs_to_the_other(
    cluster: Cluster, expected: Any, tmp_path: Path
) -> None:
    run = Run(tmp_path, cluster.address)
    run.until_checkpoint()
    cluster.kill(cluster.node)
    assert run.result() == 0, run.said()
    assert snapshot(run.store) == expected


def test_without_its_head_a_run_ends_with_a_word_and_goes_on_later(
    cluster: Cluster, expected: Any, tmp_path: Path
) -> None:
    run = Run(tmp_path, cluster.address)
    run.until_checkpoint()
    cluster.kill(cluster.head)
    assert run.result(90) == 1
    assert "head of the Ray cluster" in run.said() and "run the same command again" in run.said()
    again = make_experiment(tmp_path, **SMALL)  # without a cluster, as results are the same
    assert not run_here(again).failed
    assert snapshot(run.store) == expected


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130)])
def test_a_killed_driver_leaves_nobody_at_work(
    cluster: Cluster, expected: Any, tmp_path: Path, how: signal.Signals, code: int
) -> None:
    run = Run(tmp_path, cluster.address)
    run.until_checkpoint()
    run.process.send_signal(how)
    assert run.result() == code
    if code > 0:
        assert "Stopped. What is done stays; the same command goes on from here." in run.said()
    again = Run(tmp_path, cluster.address)
    assert again.result() == 0, again.said()
    assert snapshot(run.store) == expected


def test_a_run_waits_for_its_turn_and_says_so(cluster: Cluster, expected: Any, tmp_path: Path) -> None:
    first = Run(tmp_path / "a", cluster.address, defaults=SMALL["defaults"] | {"iterations": 10_000})
    first.until_checkpoint()
    second = Run(tmp_path / "b", cluster.address)
    wait_for(lambda: "All machines of the Ray cluster are taken" in second.said() or second.ended(), 300)
    assert not second.ended(), second.said()
    first.process.kill()
    assert second.result() == 0, second.said()
    assert second.said().count("All machines of the Ray cluster") == 1
    assert snapshot(second.store) == expected


def test_patience_begins_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long others had the machines: a worker that found one may take its time to begin."""
    from holdfast.experiment import cluster as module

    now, free = [0.0], [False]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(module, "_room", lambda needs: 1)
    monkeypatch.setattr(module, "_free", lambda needs: free[0])
    waiting = object.__new__(module.Cluster)
    waiting._needs, waiting._begun, waiting._waits = {"num_cpus": 1.0, "num_gpus": 0.0}, 0.0, False
    waiting.store = SimpleNamespace(place="here")  # type: ignore[assignment]
    now[0] = 10 * module.START_SECONDS
    waiting._wait_for_room()
    free[0] = True
    now[0] += module.START_SECONDS / 2
    waiting._wait_for_room()
    now[0] += module.START_SECONDS
    with pytest.raises(HoldfastError, match="No machine of the Ray cluster has begun a worker for 600 s"):
        waiting._wait_for_room()


def test_what_keeps_a_run_from_the_cluster_is_said_at_once(cluster: Cluster, tmp_path: Path) -> None:
    nowhere = Run(tmp_path / "a", "127.0.0.2:1")
    assert nowhere.result(300) == 2 and "There is no Ray cluster at 127.0.0.2:1" in nowhere.said()
    large = Run(tmp_path / "b", cluster.address, ray={"address": cluster.address, "cpus": 64})
    assert large.result(300) == 2 and "No machine of the Ray cluster has what a worker needs" in large.said()


MEASURE = """
import os
from pathlib import Path

from besides import ONE
from holdfast.measures import Measure
from holdfast.tasks.prepared import data_folder


class Place(Measure):
    def measure(self, job, runner):
        data, hub = Path(__file__).parent / "data", os.environ.get("HF_HOME")
        return {"data": float(data_folder() == data), "hub": float(hub == "/a/hub"), "one": ONE}
"""


def test_workers_have_the_places_that_the_run_was_given(cluster: Cluster, tmp_path: Path) -> None:
    """Though the cluster was started elsewhere: modules, prepared sets (here `data`), the hub's files."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "besides.py").write_text("ONE = 1.0")
    (tmp_path / "place.py").write_text(MEASURE)
    modules = os.pathsep.join(filter(None, ("modules", os.environ.get("PYTHONPATH"))))
    environment = {"PYTHONPATH": modules, "HF_HOME": "/a/hub"}
    run = Run(tmp_path, cluster.address, environment, measures={"place.py:Place": {}})
    assert run.result() == 0, run.said()
    results = [json.loads(path.read_text()) for path in run.store.glob("measure/*/result.json")]
    assert results and all((one["data"], one["hub"], one["one"]) == (1, 1, 1) for one in results)


LACKING = """
import sys
from pathlib import Path

from experiment_helpers import make_experiment, run_here
from holdfast.errors import HoldfastError
from holdfast.experiment import cluster


class Lacking:
    def __init__(self, *_):
        raise ModuleNotFoundError("No module named 'holdfast'")

    def facts(self): ...


cluster._Actor = Lacking
for cpus in (1, 64, 64):
    ray = {"address": sys.argv[1], "retries": 1, "cpus": cpus}
    try:
        run_here(make_experiment(Path(sys.argv[2]), executor="ray", ray=ray))
    except HoldfastError as error:
        print(error)
"""


def test_a_run_that_cannot_begin_ends_and_leaves_nothing_that_the_next_minds(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Workers die at once on machines that lack the package; and in one process several runs may follow."""
    command = [sys.executable, "-c", LACKING, cluster.address, str(tmp_path)]
    first, *others = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout.splitlines()
    assert "die before they begin (ModuleNotFoundError: No module named 'holdfast')" in first
    assert len(others) == 2 and all("has what a worker needs (64 CPUs)" in other for other in others)


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def _answers(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def _signal(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _below(pid: int) -> list[int]:
    """Processes that a process started, and theirs."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [child for child, parent in parents if parent == pid]
    return found + [one for child in found for one in _below(child)]


def _is_actor(pid: int) -> bool:
    try:
        return "ray::_Actor" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
