"""Another executor is one class, from outside the package: the same results, failures and stops."""

from __future__ import annotations

import io
import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from rich.console import Console

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, snapshot, write_config
from holdfast import run
from holdfast.config.experiment import EXECUTORS
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment import progress
from holdfast.experiment.executor import CLASSES
from holdfast.experiment.plan import make_plan
from holdfast.experiment.progress import Progress
from holdfast.experiment.run import run as execute
from holdfast.experiment.store import Store

SMALL: dict[str, Any] = {"general": [], "train_examples": 8, "test_examples": 4, "keep_weights": "all"}

PAGE = Path(__file__).parents[1] / "docs" / "experiments.md"
EXAMPLE = next(part for part in PAGE.read_text("utf-8").split("```python") if "(Executor)" in part).split(
    "```"
)[0]
RULES = (
    f"{EXAMPLE.replace('Mine', 'Serial')}\n"
    + """
from pathlib import Path

from holdfast.experiment.executor import Event


class Pair(Serial):
    \"\"\"Workers that forget their policies and lose every job that judges.\"\"\"

    where = "on the moon"

    def idle(self):
        return [Forgetful() for _ in range(self.workers - len(self.given))]

    def listen(self, tell):
        job, weights = self.given[0]
        if job.kind == "evaluate":
            tell(self.given.pop(0)[0], Event("failed", message="it was lost"))
        else:
            Serial.listen(self, tell)

    def stop(self):
        Path(self.store.root, "stopped").touch()


class Forgetful:
    held = None


class Mute(Serial):
    def listen(self, tell):
        tell(self.given.pop(0)[0], Event("finished"))


class Busy(Serial):
    asked = 0

    def idle(self):
        self.asked += 1
        if self.asked > 3:
            raise KeyboardInterrupt
        return []


class Half(Executor):
    def idle(self):
        return []


class Broken(Serial):
    def __init__(self, *arguments):
        raise OSError("no cluster")


class Stopped(Pair):
    def listen(self, tell):
        raise KeyboardInterrupt
"""
)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.py"
    path.write_text(RULES)
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_one_from_outside_ends_with_the_same_results(rules: Path, tmp_path: Path, call: Call) -> None:
    ours = make_experiment(tmp_path / "ours", **SMALL)
    config = write_config(tmp_path / "theirs", SMALL | {"executor": "../cluster.py:Serial"})
    assert not run_here(ours).failed
    said = call("run", config)
    assert said.code == 0, said.err
    assert f"Your code is run: {rules}:Serial" in said.err and "to do by Serial" in said.out
    assert snapshot(ours.store) == snapshot(tmp_path / "theirs" / "store")
    assert "Everything is done already." in call("run", config, "executor=local").out  # it names no result


@pytest.mark.slow
def test_several_workers_failures_and_the_end_are_its_own(rules: Path, tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, **SMALL, executor="cluster.py:Pair")
    outcome = run_here(experiment, workers=2)
    assert set(outcome.failed.values()) == {"it was lost"} and len(outcome.failed) == 2 + 2 * 2 * 2
    assert outcome.done == 2 * 2 and not outcome.skipped  # training waits for no cell
    assert (experiment.store / "stopped").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_it_is_stopped_and_leaves_no_lease_when_the_run_is(rules: Path, tmp_path: Path, call: Call) -> None:
    config = write_config(tmp_path, SMALL | {"executor": "cluster.py:Stopped"})
    said = call("run", config)
    assert said.code == 130 and "goes on from here" in said.err
    assert (tmp_path / "store" / "stopped").exists()
    assert call("run", config, "executor=local").code == 0


@pytest.mark.slow
def test_one_without_idle_workers_or_words_is_told(
    rules: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.experiment.run.IDLE_SECONDS", 0)
    config = write_config(tmp_path, SMALL | {"executor": "cluster.py:Busy"})
    said = call("run", config)
    assert said.code == 130 and said.out.count(f"{rules}:Busy has had no idle worker for 0 s") == 1, said.out
    failed = run_here(make_experiment(tmp_path, **SMALL, executor="cluster.py:Mute")).failed
    assert set(failed.values()) == {"its worker said 'finished', and not why"}


@pytest.mark.parametrize(
    ("executor", "expected"),
    [
        ("nowhere.py:Mine", "nowhere.py cannot be read: No such file"),
        ("cluster.py:Forgetful", "must be a class made from holdfast.experiment.executor.Executor"),
        ("cluster.py:Half", "has no `give`; add it to the class"),
    ],
)
def test_what_is_no_executor_is_said_before_any_work(
    rules: Path, tmp_path: Path, executor: str, expected: str
) -> None:
    experiment = make_experiment(tmp_path, **SMALL, executor=executor)
    with pytest.raises(InputError) as caught:
        run(experiment)
    assert expected in str(caught.value)
    assert not any((tmp_path / "store").glob("learn/*"))


def test_a_name_that_no_executor_has_is_found_in_the_file(tmp_path: Path) -> None:
    said = "executor: must be one of local, ray, or FILE.py:CLASS, not 'locl'; did you mean 'local'"
    with pytest.raises(InputError, match=rf"line \d+, {re.escape(said)}"):
        make_experiment(tmp_path, **SMALL, executor="locl")
    assert set(EXECUTORS) == set(CLASSES)


def test_one_that_cannot_start_says_where(rules: Path, tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, **SMALL, executor="cluster.py:Broken")
    with pytest.raises(
        HoldfastError, match=r"cluster.py:Broken failed on its start: line 73: OSError: no cluster"
    ):
        run(experiment)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_run_of_the_same_name_elsewhere_does_not_take_the_weights_that_one_keeps(tmp_path: Path) -> None:
    kept = make_experiment(tmp_path, **SMALL)
    assert not run_here(kept).failed
    weights = [name for name in snapshot(kept.store) if name.endswith("model.safetensors")]
    assert len(weights) == 4
    for keep, output, left in (("none", tmp_path / "elsewhere", weights), ("none", kept.output, [])):
        other = make_experiment(tmp_path, **SMALL | {"keep_weights": keep, "output": str(output)})
        assert run_here(other).done == 0
        assert [name for name in snapshot(kept.store) if name.endswith("model.safetensors")] == left


def test_a_run_that_waits_for_another_says_so_once(tmp_path: Path) -> None:
    experiment = make_experiment(
        tmp_path, **SMALL, sequence=["reading"], methods={"sft": {"objective": "sft"}}
    )
    plan, store, said = make_plan(experiment), Store(experiment.store), list[str]()

    class Told(Progress):
        def message(self, text: str) -> None:
            said.append(text)
            if "Another process" in text:
                held.close()

    with ExitStack() as held:
        late = Timer(20.0, held.close)
        late.start()
        assert all(held.enter_context(Store(experiment.store).lock(job)) for job in plan.jobs.values())
        assert not execute(experiment, plan, store, 1, Told(Console(quiet=True))).failed
        late.cancel()
    assert len([text for text in said if text.startswith("Another process is at ")]) == 1


@pytest.mark.slow
def test_what_is_found_damaged_on_the_way_counts_and_an_earlier_run_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    one = {"sequence": ["reading"], "methods": {"sft": {"objective": "sft"}}}
    experiment = make_experiment(tmp_path, **SMALL | one)
    plan, store, text = make_plan(experiment), Store(experiment.store), io.StringIO()
    bars = Progress(Console(file=text, width=200))
    assert execute(experiment, plan, store, 1, bars).done == 3
    stage = plan.jobs[plan.chains[0].learn[0]]
    weights = store.weights(stage) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    shutil.rmtree(store.folder(plan.jobs[plan.chains[0].cells[1, "reading"]]))
    text.truncate(text.seek(0))
    assert execute(experiment, plan, store, 1, bars).done == 2
    said = text.getvalue()
    assert "1 job to do" in said and "Damaged result, done again" in said
    assert re.findall(r"\[(\d)/(\d)\] .*: done in", said) == [("1", "2"), ("2", "2")]
