"""A run whose stages several processes learn: the same results, and what becomes of it when one is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, snapshot, write_config
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment import local
from holdfast.experiment.devices import Place
from holdfast.experiment.executor import Event
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.policy.rendezvous import leave_word, meeting_point, team_of_environment
from processes import FORKED, Process, start

SMALL: dict[str, Any] = {
    "general": [],
    "sequence": ["reading"],
    "keep_weights": "all",
    "methods": {
        "grpo": {"objective": "grpo", "shards": 2, "filter": "random_matched", "filter_samples": 2},
        "sft": {"objective": "sft", "shards": 2},
    },
    "checkpoint_every": 2,
    "defaults": {
        "iterations": 8,
        "learning_rate": 1e-3,
        "batch": 4,
        "group_size": 2,
        "sampling": {"max_tokens": 16},
    },
}


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the experiment gives on one device."""
    experiment = make_experiment(tmp_path_factory.mktemp("one"), **SMALL)
    assert not run_here(experiment).failed
    return snapshot(experiment.store)


@pytest.mark.slow
@pytest.mark.parametrize("shard", [pytest.param("none", marks=pytest.mark.cluster), "optimizer", "full"])
def test_two_devices_give_what_one_gives(shard: str, tmp_path: Path, by_one: dict[str, Any]) -> None:
    experiment = make_experiment(tmp_path, **SMALL, devices=2, shard=shard)
    assert not run_here(experiment).failed
    assert snapshot(experiment.store) == by_one


@pytest.mark.slow
def test_an_error_of_ones_own_code_on_another_rank_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(
        "from holdfast.learning.retention import Strategy\n\n\nclass Fails(Strategy):\n    kind: str\n\n"
        "    def gradient(self, stage, memory, groups):\n        if stage.team.rank:\n"
        "            raise ValueError(1)\n"
    )
    method = SMALL["methods"]["sft"] | {"retention": {"kind": "rules.py:Fails"}}
    experiment = make_experiment(tmp_path, **SMALL | {"methods": {"sft": method}}, devices=2)
    assert list(run_here(experiment).failed.values()) == [
        f"{tmp_path}/rules.py failed: line 9: ValueError: 1."
    ]


def in_a_stage(store: Path, do: Callable[[], None]) -> threading.Thread:
    """Do something as soon as the first stage has written a checkpoint."""

    def wait() -> None:
        until = time.monotonic() + 60
        while not any((store / "work").glob("*/checkpoint/state.json")) and time.monotonic() < until:
            time.sleep(0.01)
        do()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.cluster), 1])
def test_a_rank_that_dies_costs_its_stage_alone(rank: int, tmp_path: Path, by_one: dict[str, Any]) -> None:
    experiment = make_experiment(tmp_path, **SMALL, devices=2)

    def kill() -> None:
        ranks = sorted(multiprocessing.active_children(), key=lambda process: process.pid or 0)
        os.kill(ranks[rank].pid or 0, signal.SIGKILL)

    killer = in_a_stage(experiment.store, kill)
    outcome = run_here(experiment)
    killer.join()
    ((label, message),) = outcome.failed.items()
    assert ": learn" in label
    who = "its rank 1 of 2" if rank else "its process"
    assert message.startswith(f"{who} was killed by SIGKILL (most likely out of memory")
    assert outcome.done >= 3  # others, after it
    assert not run_here(experiment).failed
    assert snapshot(experiment.store) == by_one


@pytest.mark.cluster
def test_ranks_that_torchrun_started_do_the_run_together(tmp_path: Path, by_one: dict[str, Any]) -> None:
    config = write_config(tmp_path, SMALL)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*start, "-m", "holdfast", "run", config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert snapshot(tmp_path / "store") == by_one
    again = subprocess.run(
        [*start, "-m", "holdfast", "run", config], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0 and "Everything is done already." in again.stdout


def told_of(port: int, rank: int) -> dict[str, str]:
    """What a scheduler tells a rank of two."""
    place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return place | {"HOLDFAST_PATIENCE": "30"}


def be_rank(told: dict[str, str]) -> None:
    os.environ.update(told)


def hand_started(folder: Path, config: Path, rank: int, port: int, *more: str) -> Process:
    """A rank of two, as a person or a scheduler starts it."""
    first = partial(be_rank, told_of(port, rank))
    return start(folder / f"rank {rank}", "run", config, "--no-report", *more, first=first)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.slow
def test_ranks_that_were_started_with_other_settings_say_so(tmp_path: Path) -> None:
    config = write_config(tmp_path, SMALL | {"methods": {"sft": SMALL["methods"]["sft"]}})
    port = free_port()
    leads = hand_started(tmp_path, config, 0, port)
    follows = hand_started(tmp_path, config, 1, port, "defaults.learning_rate=0.01")
    leads.join(120)
    follows.kill()
    assert leads.exitcode == 1
    said = " on rank 0 and not known on rank 1: start all ranks with the same command, files and versions."
    assert said in (tmp_path / "rank 0").read_text()


def waits(port: int, rank: int, how: str, said: Connection) -> None:
    """A rank that waits for the one that leads, which keeps the store and is gone with it at once."""
    be_rank(told_of(port, rank))
    team = team_of_environment()
    if team.leads:
        if how == "ends":
            team.call(None)
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        said.send(f"called for {team.called()}")
    except HoldfastError as error:
        said.send(str(error))


@pytest.mark.parametrize(
    ("how", "what"), [("dies", "Lost rank 0 of 2 (process "), ("ends", "called for None")]
)
def test_a_rank_that_waits_hears_how_the_one_that_leads_ended(how: str, what: str) -> None:
    ours, theirs = FORKED.Pipe()
    port = free_port()
    for rank in (0, 1):
        FORKED.Process(target=waits, args=(port, rank, how, theirs), daemon=True).start()
    assert ours.poll(60)
    assert ours.recv().startswith(what)


def test_what_a_rank_said_last_is_told_where_nothing_else_is_known() -> None:
    point = meeting_point()
    worker = local._Worker([Place("cpu")] * 3, ((), b""))
    worker._meeting_point = point
    worker.processes = [FORKED.Process(target=sys.exit, args=(code,)) for code in (0, 1, 1)]
    for process in worker.processes:
        process.start()
        process.join()
    failed = Event("failed", message="a reward raises")
    assert worker._lost_helper(failed).message == "its rank 1 of 3 ended unexpectedly with exit code 1"
    leave_word(point.port, 1, "Lost rank 0 of 3")
    assert worker._lost_helper().message == "its rank 2 of 3 ended unexpectedly with exit code 1"
    leave_word(point.port, 2, "Lost rank 0 of 3")
    assert worker._lost_helper().message == "Lost rank 0 of 3"
    assert worker._lost_helper(failed) is failed


def test_a_rank_that_dies_costs_no_job_in_which_it_has_no_part(tmp_path: Path) -> None:
    plan = make_plan(make_experiment(tmp_path, **SMALL))
    worker = local._Worker([Place("cpu")] * 2, ((), b""))
    worker.connection, theirs = FORKED.Pipe()
    first, helper = (FORKED.Process(target=time.sleep, args=(60,), daemon=True) for _ in "ab")
    worker.processes, worker._meeting_point = [first, helper], meeting_point()
    for process in (first, helper):
        process.start()
    helper.kill()
    helper.join()
    theirs.send(Event("done", seconds=1.0))
    worker.job = next(job for job in plan.jobs.values() if job.kind == "evaluate")
    assert worker.signs == [worker.connection]
    assert worker.hear()[1].kind == "done"
    assert not worker.lives()  # and begins anew before the next job
    worker.job = next(job for job in plan.jobs.values() if job.kind == "learn")
    worker.processes = [first, helper]
    assert worker.signs == [helper.sentinel]


def test_devices_that_do_not_fit_the_shards_are_one_line(tmp_path: Path, call: Call) -> None:
    config = write_config(tmp_path, SMALL)
    four, three = (call("run", config, "--devices", count) for count in (4, 3))
    assert four.code == three.code == 2
    said = (
        "methods.grpo.shards: 4 devices cannot share 2 shards evenly; take --devices 2, or shards: 4, which"
    )
    assert said in four.err
    assert "3 devices cannot share 2 shards evenly; take --devices 2\n" in three.err
    assert not (tmp_path / "store").exists()
    replay = "methods.sft.retention={kind: er}"
    said = (
        "methods.sft.retention: strategies look at all of the optimiser's state, so shard: optimizer does not"
    )
    assert said in call("run", config, "--devices", 2, "--shard", "optimizer", replay).err
    distilled = "methods.sft={objective: sdft, shards: 2}"
    said = "methods.sft.objective: its teacher is asked within a step"
    assert said in call("run", config, "--devices", 2, "--shard", "full", distilled).err


def test_ranks_take_cards_in_turn_and_never_one_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = [Place("cuda", str(index)) for index in range(4)]
    monkeypatch.setattr(local, "places", lambda _: cards)
    experiment = make_experiment(tmp_path, **SMALL, devices=2)
    rest = experiment, make_plan(experiment), Store(experiment.store)
    processes = local.Processes(*rest, 3)
    assert [worker.places for worker in processes.idle()] == [cards[:2], cards[2:], cards[:2]]
    assert processes.where == "in 6 processes on 4 cards (cuda), up to 2 a card"
    monkeypatch.setattr(local, "places", lambda _: cards[:1])
    with pytest.raises(InputError, match=r"^devices: 2 cards are to learn a stage, and there are 1\.$"):
        local.Processes(*rest, 1)


def test_how_ranks_were_started_is_checked(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path, SMALL)
    monkeypatch.setenv("WORLD_SIZE", "2")
    team_of_environment.cache_clear()
    assert "--devices 4, but 2 ranks were started; leave it out." in call("run", config, "--devices", 4).err
    assert (
        "--workers: ranks that were started together are one worker"
        in call("run", config, "--workers", 2).err
    )
    assert "so this is a rank of several, but RANK is not set" in call("run", config).err
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for name, value, said in (
        ("LOCAL_RANK", "x", "LOCAL_RANK is 'x'; it must be a whole number"),
        ("MASTER_PORT", "-1", "MASTER_PORT is '-1'; it must be a whole number"),
        ("RANK", "2", "RANK is 2, but ranks count from 0, and WORLD_SIZE is 2"),
        ("HOLDFAST_PATIENCE", "inf", "HOLDFAST_PATIENCE is 'inf'; it must be a number of seconds above 0"),
    ):
        with monkeypatch.context() as here:
            here.setenv(name, value)
            with pytest.raises(InputError, match=said):
                team_of_environment()
    monkeypatch.setenv("WORLD_SIZE", "two")
    assert "WORLD_SIZE is 'two' in the environment" in call("run", config).err
