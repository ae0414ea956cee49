"""A run whose stages several processes learn: the same results, and what becomes of it when one is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, snapshot, write_config
from holdfast.errors import InputError
from holdfast.experiment import local
from holdfast.experiment.devices import Place
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.policy.team import team_of_environment

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


@pytest.mark.parametrize("shard", [pytest.param("none", marks=pytest.mark.cluster), "optimizer", "full"])
def test_two_devices_give_what_one_gives(shard: str, tmp_path: Path, by_one: dict[str, Any]) -> None:
    experiment = make_experiment(tmp_path, **SMALL, devices=2, shard=shard)
    assert not run_here(experiment).failed
    assert snapshot(experiment.store) == by_one


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
