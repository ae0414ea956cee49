"""A killed run goes on to the same bits, whatever the moment and the number of processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from experiment_helpers import make_experiment, run_here, snapshot, write_config
from holdfast.experiment import local
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.generate.local import LocalGenerator

METHODS = {
    "sft": {"objective": "sft", "iterations": 12},
    "rif": {"objective": "grpo", "filter": "random_matched", "group_size": 4, "micro_batch": 4},
}
JOBS = 2 + 2 * 2 + 2 + 2 * 2 * 2  # base cells, stages, filters, cells
SETTINGS = {
    "methods": METHODS,
    "keep_weights": "all",
    "general": [],
    "checkpoint_every": 1,
    "evaluation": {"max_tokens": 16, "batch": 4},
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the experiment gives in one process and one go."""
    experiment = make_experiment(tmp_path_factory.mktemp("undisturbed"), **SETTINGS)
    outcome = run_here(experiment)
    assert not outcome.failed
    assert outcome.done == JOBS
    content = snapshot(experiment.store)
    assert sum(name.endswith(".safetensors") for name in content) == 4
    return content


def start(config: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "holdfast", "run", str(config), "--workers", str(workers)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # As in a terminal; what a script starts in the background ignores Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(happened: object, process: subprocess.Popen[str], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if happened():  # type: ignore[operator]
            return
        time.sleep(0.01)


def test_killed_at_random_moments(tmp_path: Path, undisturbed: dict) -> None:
    config, store = write_config(tmp_path, SETTINGS), tmp_path / "store"
    moments = random.Random()  # another choice every time, on purpose
    killed = 0
    for workers in (1, 2, 1):
        before = set(snapshot(store))
        process = start(config, workers)
        wait_for(
            lambda before=before: (
                any((store / "work").glob("*/metrics.jsonl")) or set(snapshot(store)) != before
            ),
            process,
        )
        time.sleep(moments.uniform(0, 0.8))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.communicate()
    assert killed
    assert not run_here(make_experiment(tmp_path, **SETTINGS)).failed
    assert snapshot(store) == undisturbed
    assert not list((store / "work").glob("*"))


def test_a_stage_goes_on_from_its_step_checkpoint(tmp_path: Path, undisturbed: dict) -> None:
    config, store = write_config(tmp_path, SETTINGS), tmp_path / "store"
    process = start(config, workers=1)
    wait_for(lambda: any((store / "work").glob("*/checkpoint/state.json")), process)
    process.kill()
    process.communicate()
    (state,) = (store / "work").glob("*/checkpoint/state.json")
    assert 0 < json.loads(state.read_text())["iteration"] < 12
    outcome = run_here(make_experiment(tmp_path, **SETTINGS))
    assert not outcome.failed
    assert snapshot(store) == undisturbed


DIES = """
import os, signal, sys
from holdfast import cli
from holdfast.generate.local import LocalGenerator
real, calls = LocalGenerator.generate, []
def generate(self, questions, group, sampling, stream):
    if stream[0] == {kind!r}:
        calls.append(1)
        if len(calls) == {call}:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(self, questions, group, sampling, stream)
LocalGenerator.generate = generate
sys.argv = ["holdfast", "run", {config!r}, "--workers", "1"]
cli.main()
"""


@pytest.mark.parametrize(
    ("kind", "call", "batches"),
    [
        ("filter", 3, 2 * 4),  # two filters of 16 examples
        ("evaluate", 2, 10 * 2),  # ten cells of 8 examples
    ],
)
def test_filters_and_evaluations_go_on_after_their_last_batch(
    kind: str, call: int, batches: int, tmp_path: Path, undisturbed: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, store = write_config(tmp_path, SETTINGS), tmp_path / "store"
    script = DIES.format(kind=kind, call=call, config=str(config))
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    (log,) = (store / "work").glob("*/rows.jsonl")
    assert len(log.read_text().splitlines()) == call - 1
    asked = []
    real = LocalGenerator.generate

    def generate(self: Any, questions: Any, group: int, sampling: Any, stream: Any) -> Any:
        asked.append(stream[0])
        return real(self, questions, group, sampling, stream)

    monkeypatch.setattr(LocalGenerator, "generate", generate)
    assert not run_here(make_experiment(tmp_path, **SETTINGS)).failed
    assert asked.count(kind) == batches - (call - 1)
    assert snapshot(store) == undisturbed
    assert not list((store / "work").glob("*"))


def test_a_dead_worker_costs_its_job_only(tmp_path: Path, undisturbed: dict) -> None:
    experiment = make_experiment(tmp_path, **SETTINGS)

    def kill_one() -> None:
        while not (workers := multiprocessing.active_children()):
            time.sleep(0.01)
        os.kill(workers[0].pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    outcome = run_here(experiment, workers=2)
    killer.join()
    ((label, message),) = outcome.failed.items()
    assert "killed by SIGKILL (most likely out of memory" in message
    assert "stage 1" in label
    assert outcome.done + len(outcome.failed) + outcome.skipped == JOBS
    done = snapshot(experiment.store)
    assert all(undisturbed[name] == content for name, content in done.items())
    assert not run_here(experiment).failed
    assert snapshot(experiment.store) == undisturbed


def test_a_worker_that_died_idle_gets_no_job(tmp_path: Path) -> None:
    """Its place is offered again, after those that run, and without the policy that it held."""
    experiment = make_experiment(tmp_path)
    processes = local.Processes(experiment, make_plan(experiment), Store(experiment.store), 3)
    dead, living, unused = processes.idle()
    for worker, alive in ((dead, False), (living, True)):
        process: Any = MagicMock(**{"is_alive.return_value": alive})
        worker.process, worker.connection, worker.held = process, MagicMock(), "policy"
    assert processes.idle() == [living, dead, unused]
    assert (living.held, dead.held, dead.process) == ("policy", None, None)


def test_stopping_is_clean(tmp_path: Path) -> None:
    config, store = write_config(tmp_path, SETTINGS), tmp_path / "store"
    process = start(config, workers=2)
    wait_for(lambda: any((store / "work").glob("*/checkpoint")), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on from here" in output
    assert "Traceback" not in output
