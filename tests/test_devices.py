"""A card for every worker: which one, what is said of it, and that the processes see it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, write_config
from holdfast.errors import InputError
from holdfast.experiment import devices, local
from holdfast.experiment.devices import Place, places, spread
from holdfast.experiment.forked import context_for
from holdfast.policy.device import device_for, device_name
from processes import FORKED, Process

BOTH = {
    "methods": {"one": {"objective": "sft"}, "two": {"objective": "sft", "batch": 2}},
    "sequence": ["reading"],
    "general": [],
    "test_examples": 2,
    "defaults": {"iterations": 1, "learning_rate": 1e-3, "batch": 4},
}


@pytest.fixture
def visible(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As if torch saw so many cards under a value of CUDA_VISIBLE_DEVICES."""

    def see(count: int, value: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        if value is None:
            monkeypatch.delenv(devices.VISIBLE, raising=False)
        else:
            monkeypatch.setenv(devices.VISIBLE, value)

    return see


def test_cards_have_the_names_that_this_process_was_given(visible: Any) -> None:
    visible(3)
    assert devices.cards() == ["0", "1", "2"]
    visible(2, "5, 3")
    assert devices.cards() == ["5", "3"]
    visible(2, "GPU-8932f937,GPU-16b1")
    assert devices.cards() == ["GPU-8932f937", "GPU-16b1"]
    visible(1, "MIG-a,MIG-b")  # of which CUDA shows one process the first alone
    assert devices.cards() == ["MIG-a", "MIG-b"]
    visible(1, "2,-1,3")  # as CUDA reads it: what follows an unknown card does not count
    assert devices.cards() == ["2"]
    visible(0, "")
    assert devices.cards() == []


def test_a_device_stands_for_places(visible: Any) -> None:
    visible(2, "4,7")
    both = [Place("cuda", "4"), Place("cuda", "7")]
    assert places("cuda") == places("auto") == both
    assert both[1].environment == {"CUDA_VISIBLE_DEVICES": "7"}
    assert places("cuda:1") == [Place("cuda:1")]  # this one alone, as this process counts
    assert places("cuda:1")[0].environment == {}
    assert places("cpu") == [Place("cpu")]
    visible(0)
    assert places("auto") == [Place("cpu")]


def test_a_device_that_is_not_there_is_one_line(visible: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    visible(0)
    with pytest.raises(InputError, match=r"device: cuda cannot be used: .*\. Use auto or cpu\.$"):
        places("cuda")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    visible(0, "-1")
    with pytest.raises(InputError, match="torch finds no GPU, with CUDA_VISIBLE_DEVICES=-1"):
        places("cuda")
    visible(2)
    for wrong in ("cuda:2", "cuda:x", "cuda1"):
        with pytest.raises(InputError, match=f"device: {wrong} cannot be used: the last card here is cuda:1"):
            places(wrong)
    with pytest.raises(InputError, match="device: gpu cannot be used"):
        places("gpu")


def test_one_place_says_what_a_setting_means(visible: Any) -> None:
    visible(0)
    assert device_name("auto") == "cpu"
    assert device_for("auto") == torch.device("cpu")
    visible(1)
    assert device_name("auto") == "cuda"
    assert device_name("cuda:3") == "cuda:3"


def test_workers_and_cards_in_words() -> None:
    two = [Place("cuda", "0"), Place("cuda", "1")]
    assert spread(2, two) == "2 cards (cuda)"
    assert spread(1, two) == "1 of 2 cards (cuda)"
    assert spread(4, two) == "2 cards (cuda), 2 a card"
    assert spread(5, two) == "2 cards (cuda), up to 3 a card"
    assert spread(1, [Place("cuda:3")]) == "cuda:3"
    assert spread(2, [Place("cuda:3")]) == "cuda:3, all on one card"
    assert spread(4, [Place("cpu")]) == "cpu"


def test_each_card_is_asked_for_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os, sys; n = int(os.environ['CUDA_VISIBLE_DEVICES']); print(n * 10**9, 80 * 10**9)"
    monkeypatch.setattr(devices, "_ASK", script)
    idle, busy = devices.rooms([Place("cuda", "79"), Place("cuda", "20")])
    assert (idle.taken, idle.available) == (0, 80 * 10**9)
    assert busy.taken == 60 * 10**9 - devices.CONTEXT
    assert busy.available == 20 * 10**9 + devices.CONTEXT
    (machine,) = devices.rooms([Place("cpu")])
    assert machine.available == machine.total > 10**8
    with pytest.raises(InputError, match="cuda card GPU-x cannot be used: ValueError"):
        devices.rooms([Place("cuda", "GPU-x")])
    monkeypatch.setattr(devices, "_ASK", "import time; time.sleep(60)")
    monkeypatch.setattr(devices, "ASK_SECONDS", 0.1)
    with pytest.raises(InputError, match=r"cuda:1 cannot be used: no answer in 0\.1 s"):
        devices.rooms([Place("cuda:1")])


def card_of(process: Any) -> str:
    """What the process was started with."""
    if isinstance(process, Process):
        return process._environment[devices.VISIBLE]
    place = Path(f"/proc/{process.pid}")
    until = time.monotonic() + 30
    while b"spawn_main" not in (place / "cmdline").read_bytes() and time.monotonic() < until:
        time.sleep(0.01)
    variables = (place / "environ").read_text().split("\0")
    (card,) = [one.partition("=")[2] for one in variables if one.startswith(devices.VISIBLE)]
    return card


class Watched(local._Worker):
    """Notes which card its process was started with; the first one may be killed at its first job."""

    seen: ClassVar[list[str]] = []
    kill_first: ClassVar[bool] = False

    def start(self) -> None:
        super().start()
        (process,) = self.processes
        self.seen.append(card_of(process))
        if self.kill_first and len(self.seen) == 1:
            process.kill()


@pytest.fixture
def watched(visible: Any, monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    """Workers that are given cards, and compute on the CPU, having none; the first as users have it."""
    visible(2, "GPU-a,3")
    Watched.seen.clear()
    monkeypatch.setattr(local, "_Worker", Watched)
    monkeypatch.setattr(local, "context_for", lambda device: FORKED if Watched.seen else get_context("spawn"))
    return Watched


@pytest.mark.slow
def test_every_worker_sees_a_card_of_its_own(tmp_path: Path, watched: type[Watched]) -> None:
    outcome = run_here(make_experiment(tmp_path, **BOTH), workers=3)
    assert not outcome.failed
    assert sorted(watched.seen) == ["3", "GPU-a", "GPU-a"]
    assert os.environ[devices.VISIBLE] == "GPU-a,3"  # this process is as it was


@pytest.mark.slow
def test_who_comes_after_a_dead_worker_takes_its_card(
    tmp_path: Path, watched: type[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "kill_first", True)
    outcome = run_here(make_experiment(tmp_path, **BOTH), workers=2)
    assert len(outcome.failed) == 1
    assert watched.seen[0] == "GPU-a"
    assert sorted(watched.seen[1:]) == ["3", "GPU-a"]


def test_workers_of_a_cpu_are_copied_and_those_of_cards_start_from_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A socket's path must fit 108 characters: where it would not, they start from nothing, too."""
    here = "forkserver" if sys.platform == "linux" else "spawn"
    assert context_for("cpu").get_start_method() == here
    assert {context_for(device).get_start_method() for device in ("cuda", "cuda:1", "mps")} == {"spawn"}
    monkeypatch.setattr(tempfile, "tempdir", "/" + "long" * 20)
    assert context_for("cpu").get_start_method() == "spawn"


SCRIPT = """
import os
from holdfast.experiment.forked import context_for


def tell(connection):
    import sys
    connection.send((os.environ.get("SAID"), "torch" in sys.modules, os.getppid()))


if __name__ == "__main__":
    for said in ("one", "two"):
        os.environ["SAID"] = said
        ours, theirs = context_for("cpu").Pipe()
        process = context_for("cpu").Process(target=tell, args=(theirs,), daemon=True)
        process.start()
        print(*ours.recv(), os.getpid())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they start from nothing")
def test_copies_have_imported_all_and_know_the_environment_of_their_time(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    one, two = (line.split() for line in done.stdout.splitlines())
    assert (one[:2], two[:2]) == (["one", "True"], ["two", "True"])
    assert one[2] == two[2] != one[3]  # one process has both copied, and it is not the script


def test_plan_and_run_name_the_cards(tmp_path: Path, visible: Any, call: Call) -> None:
    visible(2)
    config = str(write_config(tmp_path, BOTH | {"model": {"device": "cuda"}}))
    assert "2 workers on 2 cards (cuda).\n" in call("plan", config, "--workers", "auto").out
    assert "3 workers on 2 cards (cuda), up to 2 a card." in call("plan", config, "--workers", "3").out
    assert "1 worker on cpu." in call("plan", config, "model.device=cpu").out
    visible(0)
    planned = call("plan", config)
    assert planned.code == 0 and "device: cuda cannot be used" in planned.err
    refused = call("run", config)
    assert refused.code == 2 and refused.err.count("\n") == 1
    assert "device: cuda cannot be used" in refused.err
    assert not (tmp_path / "store" / "learn").exists()


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1.5"])
def test_a_number_of_workers_that_is_none(tmp_path: Path, call: Call, wrong: str) -> None:
    said = call("run", str(write_config(tmp_path)), "--workers", wrong)
    assert said.code == 2
    assert f"--workers {wrong}: give a number from 1 to 9999, or auto." in said.err
