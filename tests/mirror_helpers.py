"""A small experiment whose store lies away from a disk, and what may happen to one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from rich.console import Console

from experiment_helpers import TINY, make_experiment
from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.experiment import remote
from holdfast.experiment.mirror import open_store
from holdfast.experiment.plan import Job, Plan, make_plan
from holdfast.experiment.progress import Progress
from holdfast.experiment.remote import Remote
from holdfast.experiment.run import Outcome
from holdfast.experiment.run import run as run_plan
from holdfast.experiment.store import Store

SETTINGS: dict[str, Any] = {
    "sequence": ["reading", "counting"],
    "general": [],
    "methods": {"rif": {"objective": "grpo", "filter": "random_matched"}},
    "train_examples": 8,
    "test_examples": 4,
    "defaults": TINY["defaults"] | {"iterations": 4},
    "checkpoint_every": 1,
    "keep_weights": "all",
}
WRITING = ("put_file", "pipe_file", "rm", "cp_file")


class Killed(BaseException):
    """Stands for SIGKILL in this process."""


class Faults:
    """What happens at calls of a place in memory.

    Attributes:
        at: is told of each call and its path before it is made; an error that it raises is the call's, and
            True loses the call without a word.
        calls: the names of those that were made.
    """

    def __init__(self) -> None:
        self.at: Callable[[str, str], bool | None] = lambda call, path: None
        self.calls: list[tuple[str, str]] = []


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Calls of places in memory go through what is given back."""
    made = Faults()

    def faulty(name: str) -> Callable[..., Any]:
        real = getattr(MemoryFileSystem, name)

        def call(self: MemoryFileSystem, *arguments: Any, **options: Any) -> Any:
            path = str(arguments[1] if name in ("put_file", "cp_file") else arguments[0])
            made.calls.append((name, path))
            return None if made.at(name, path) else real(self, *arguments, **options)

        return call

    for name in (*WRITING, "cat_file", "get_file", "find"):
        monkeypatch.setattr(MemoryFileSystem, name, faulty(name))
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))
    return made


def in_memory() -> str:
    """The URL of a store that is there for this test alone."""
    return f"memory://{uuid.uuid4().hex}/runs"


@pytest.fixture
def memory() -> str:
    return in_memory()


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/place" if request.param == "file" else in_memory()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_plan(make_experiment(tmp_path_factory.mktemp("plan"), **SETTINGS))


def away(folder: Path, url: str, **changes: Any) -> Experiment:
    return make_experiment(folder, **SETTINGS | {"store": url} | changes)


def run(experiment: Experiment, workers: int = 1) -> Outcome:
    """Run an experiment silently where its store lies, without its report."""
    plan = make_plan(experiment)
    return run_plan(experiment, plan, open_store(experiment), workers, Progress(Console(quiet=True)))


def fill(store: Store, job: Job, text: str = "0123456789", seconds: float = 1.0) -> None:
    with store.writing(job) as folder:
        files.write_jsonl(folder / "records.jsonl", [{"text": text}])
        files.write_json(folder / "result.json", {"seconds": seconds})
        if job.kind == "learn":
            files.write_text(folder / "weights" / "model.safetensors", text)


def a_stage(plan: Plan, number: int = 0) -> Job:
    return plan.jobs[plan.chains[0].learn[number]]


def objects(url: str) -> list[str]:
    return sorted(Remote(url).sizes())


def only(url: str, end: str) -> str:
    (name,) = (name for name in objects(url) if name.endswith(end))
    return name
