"""A killed run goes on to the same bits, whatever the moment and the number of processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli_helpers import Call
from experiment_helpers import TINY, make_experiment, run_here, snapshot, write_config
from holdfast.experiment import executor, local
from holdfast.experiment.forked import unheard
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.files import listing, read_json, write_json
from holdfast.generate.local import LocalGenerator
from holdfast.learning import loop
from processes import Process, start

METHODS = {
    "sft": {"objective": "sft", "iterations": 7},
    "rif": {
        "objective": "grpo",
        "filter": "random_matched",
        "batch": 2,
        "group_size": 4,
        "micro_batch": 1,
        "iterations": 4,
    },
}
JOBS = 2 + 2 * 2 + 2 + 2 * 2 * 2  # base cells, stages, filters, cells
SETTINGS = {
    "methods": METHODS,
    "defaults": TINY["defaults"] | {"filter_samples": 2},
    "keep_weights": "all",
    "general": [],
    "train_examples": 8,
    "test_examples": 4,
    "checkpoint_every": 3,
    "evaluation": {"max_tokens": 16, "batch": 2},
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


def wait_for(happened: Callable[[], bool], process: Process, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.is_alive() and not happened():
        time.sleep(0.01)


def results_in(store: Path) -> set[Path]:
    return set(store.glob("*/[!.]*/result.json"))


def test_killed_at_random_moments(tmp_path: Path, undisturbed: dict) -> None:
    config, store = write_config(tmp_path, SETTINGS), tmp_path / "store"
    moments = random.Random()  # another choice every time, on purpose
    killed = 0
    for workers in (1, 2, 1):
        before = results_in(store)
        process = start(tmp_path / "said", "run", config, "--workers", workers)
        wait_for(
            lambda before=before: (
                any((store / "work").glob("*/metrics.jsonl")) or results_in(store) != before
            ),
            process,
        )
        time.sleep(moments.uniform(0, 0.8))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed
    assert not run_here(make_experiment(tmp_path, **SETTINGS)).failed
    assert snapshot(store) == undisturbed
    assert not list((store / "work").glob("*"))


def test_a_stage_goes_on_from_its_step_checkpoint(
    tmp_path: Path, undisturbed: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, store = write_config(tmp_path, SETTINGS), tmp_path / "store"
    process = start(tmp_path / "said", "run", config)
    wait_for(lambda: any((store / "work").glob("*/checkpoint/state.json")), process)
    process.kill()
    process.join()
    (state,) = (store / "work").glob("*/checkpoint/state.json")
    assert 0 < json.loads(state.read_text())["iteration"] < 7
    monkeypatch.setattr(local, "attempt", only_the_first(executor.attempt))
    run_here(make_experiment(tmp_path, **SETTINGS))
    check_stages(store, undisturbed)


class Killed(BaseException):
    """Stands for SIGKILL in this process."""


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the first stage was killed after its first checkpoint and a row more."""
    experiment, steps = make_experiment(tmp_path_factory.mktemp("half"), **SETTINGS), []

    def step(*arguments: Any) -> dict[str, float]:
        steps.append(1)
        if len(steps) == 5:
            raise Killed
        return real(*arguments)

    real = loop.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "step", step)
        with pytest.raises(Killed):
            run_here(experiment)
    return experiment.store


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def reshape(path: Path, shape: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Other tensors under a manifest that vouches for them."""
    save_file({name: shape(tensor).contiguous() for name, tensor in load_file(path).items()}, path)
    manifest = read_json(path.with_name("manifest.json"))
    path.with_name("manifest.json").unlink()
    write_json(path.with_name("manifest.json"), manifest | {"files": listing(path.parent)})


WEIGHTS, MOMENTS = "checkpoint/weights.safetensors", "checkpoint/optimizer.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda work: flip(work / WEIGHTS), r"weights\.safetensors is not what was written"),
        (lambda work: (work / MOMENTS).write_bytes(b""), r"optimizer\.safetensors is not what was"),
        (lambda work: reshape(work / WEIGHTS, lambda _: torch.ones(1)), "has another shape or type than the"),
        (lambda work: reshape(work / WEIGHTS, torch.Tensor.half), "has another shape or type than the model"),
        (lambda work: reshape(work / MOMENTS, lambda _: torch.ones(2)), "has another shape than the optim"),
        (lambda work: (work / "checkpoint/manifest.json").unlink(), "No such file"),
        (lambda work: (work / "metrics.jsonl").write_text(""), r"metrics\.jsonl is not what was written"),
        (lambda work: (work / "metrics.jsonl").unlink(), "No such file"),
        (lambda work: work.rename(work.with_name("0" * 16)).rename(work), None),
    ],
    ids=["bit", "empty", "broadcast", "type", "moments", "manifest", "short curve", "no curve", "none"],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_stage_done_again(
    damage: Callable[[Path], object],
    said: str | None,
    tmp_path: Path,
    half: Path,
    undisturbed: dict,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    experiment = make_experiment(tmp_path, **SETTINGS)
    shutil.copytree(half, experiment.store)
    (work,) = (experiment.store / "work").iterdir()
    damage(work)
    monkeypatch.setattr(local, "attempt", only_the_first(executor.attempt))
    run_here(experiment)
    assert bool(caplog.messages) == (said is not None)
    if said is not None:
        (line,) = caplog.messages
        assert re.search(said, line) and "Damaged unfinished work of sft seed 0 stage 1" in line
        assert (experiment.store / "damaged" / f"work-{work.name}").is_dir()
    check_stages(experiment.store, undisturbed)


def check_stages(store: Path, undisturbed: dict) -> None:
    made = {name: what for name, what in snapshot(store).items() if name.startswith("learn/")}
    assert made and all(undisturbed[name] == what for name, what in made.items())


def only_the_first(attempt: Callable[..., executor.Event]) -> Callable[..., executor.Event]:
    """Does the first stage alone; the rest of the experiment proves nothing more."""

    def attempt_learn(runner: Any, job: Any, *rest: Any) -> executor.Event:
        if job.kind != "learn" or job.policy is not None or job.method.objective != "sft":
            return executor.Event("failed", message="not tried")
        return attempt(runner, job, *rest)

    return attempt_learn


def die_at(kind: str, call: int) -> None:
    """Kill this process when it asks for answers of a kind for the so manieth time."""
    real, calls = LocalGenerator.generate, []

    def generate(self: Any, questions: Any, group: int, sampling: Any, stream: Any) -> Any:
        calls.extend([1] * (stream[0] == kind))
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, questions, group, sampling, stream)

    LocalGenerator.generate = generate  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "call", "batches"),
    [
        ("filter", 3, 2 * 8),  # two filters of 8 examples, a micro-batch of one each
        ("evaluate", 2, 10 * 2),  # ten cells of 4 examples
    ],
)
def test_filters_and_evaluations_go_on_after_their_last_batch(
    kind: str, call: int, batches: int, tmp_path: Path, undisturbed: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, store = write_config(tmp_path, SETTINGS), tmp_path / "store"
    process = start(tmp_path / "said", "run", config, first=partial(die_at, kind, call))
    process.join()
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "said").read_text()
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


@pytest.mark.slow
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
        worker.processes, worker.connection, worker.held = [process], MagicMock(), "policy"
    assert processes.idle() == [living, dead, unused]
    assert (living.held, dead.held, dead.processes) == ("policy", None, [])


def test_stopping_is_clean(tmp_path: Path) -> None:
    config, store = write_config(tmp_path, SETTINGS), tmp_path / "store"
    process = start(tmp_path / "said", "run", config, "--workers", 2)
    wait_for(lambda: any((store / "work").glob("*/checkpoint")), process)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 130
    output = (tmp_path / "said").read_text()
    assert "goes on from here" in output
    assert "Traceback" not in output


def test_processes_that_are_started_hear_no_ctrl_c_while_they_import() -> None:
    code = "import time\nprint('there', flush=True)\ntime.sleep(0.5)\nprint('whole')"
    with unheard():
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "whole\n"
    assert process.returncode == 0
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())  # this one hears it again


def test_copies_of_a_process_that_hears_no_ctrl_c_hear_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, os, signal, time\n"
        "from holdfast.experiment.forked import FORKED, SERVER, prepare_copies\n"
        "def copy(said):\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever a shell has it do\n"
        "    said.send('there')\n"
        "    time.sleep(30)\n"
        "if __name__ == '__main__':\n"
        "    SERVER.set_forkserver_preload([])\n"
        "    prepare_copies('cpu')\n"
        "    for context in FORKED, multiprocessing.get_context('forkserver'):\n"
        "        heard, said = context.Pipe()\n"
        "        process = context.Process(target=copy, args=(said,))\n"
        "        process.start()\n"
        "        heard.recv()\n"
        "        os.kill(process.pid, signal.SIGINT)\n"
        "        process.join(20)\n"
        "        assert process.exitcode not in (None, 0), process.exitcode\n"
    )
    subprocess.run([sys.executable, script], check=True, stderr=subprocess.DEVNULL)


def test_ctrl_c_before_there_is_work_has_its_word(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("holdfast.config.load.load_experiment", interrupted)
    for command in ("run", "plan"):
        assert call(command, tmp_path / "x.yaml") == (130, "", "Stopped.\n")
