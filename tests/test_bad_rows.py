"""`bad_rows: skip`: a row that the model cannot take costs that row, everywhere alike, and is told."""

from __future__ import annotations

import json
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import holdfast
from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, snapshot, write_config
from holdfast import files
from holdfast.checkpoints.folder import Examined
from holdfast.checkpoints.noise import check_noise
from holdfast.checkpoints.subject import find_subject
from holdfast.config.load import load_exam
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment.fitting import MEMORY, check_rows
from holdfast.experiment.inputs import Inputs
from holdfast.experiment.plan import Plan, make_plan
from holdfast.experiment.prune import candidates
from holdfast.experiment.store import Store
from holdfast.generate.generator import questions
from holdfast.generate.local import LocalGenerator
from holdfast.policy import ready
from holdfast.policy.batch import NotFiniteError
from holdfast.policy.load import load_model
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.example import Example
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.task import Task
from processes import start

LONG = "discs " * 600
SFT = {"objective": "sft", "iterations": 2, "batch": 2, "learning_rate": 1e-3}


def data(folder: Path, train: str, test: str) -> dict[str, Any]:
    """The task `sums` with a row a letter: x is too long for the model, d has a target that is, y is long."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, letters in (("train", train), ("test", test)):
        rows = [
            {
                "id": f"{split}-{letter}{place if letter in 'xd' else ''}",
                "prompt": {"x": LONG, "y": LONG[:900]}.get(letter, f"how many discs, {letter}"),
                "answer": LONG if letter == "d" else "two",
            }
            for place, letter in enumerate(letters)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {split: str(folder / f"{split}.jsonl") for split in ("train", "test")}


def settings(folder: Path, train: str, test: str, **changes: Any) -> dict[str, Any]:
    return {
        "tasks": {"sums": data(folder / "data", train, test)},
        "sequence": ["sums", "counting"],
        "general": [],
        "train_examples": 4,
        "test_examples": 4,
        "methods": {"sft": SFT},
        "bad_rows": "skip",
        "keep_weights": "all",
        **changes,
    }


def inputs(plan: Plan, kind: str, task: str) -> list[dict[str, Any]]:
    return [job.inputs["tasks"][0] for job in plan.jobs.values() if job.kind == kind and job.tasks == (task,)]


def test_a_task_without_rows_is_as_if_they_were_not_there(tmp_path: Path) -> None:
    paths = data(tmp_path, "axbxc", "ab")
    task = load_task("sums", OwnTask.model_validate(paths)).without({"train": [1, 3]})
    assert [one.id for one in task.examples("train")] == ["train-a", "train-b", "train-c"]
    assert [one.id for one in task.examples("train", 2)] == ["train-a", "train-b"]
    assert [one.id for one in task.examples("test")] == ["test-a", "test-b"]
    assert task.sizes == {"train": 3, "test": 2}
    assert [task.passed_over("train", count) for count in (1, 2, 3, None)] == [[], [1], [1, 3], [1, 3]]
    with pytest.raises(InputError, match="has 3 train examples, but 4 were asked for"):
        task.examples("train", 4)
    endless = TASKS["facts"]
    whole = endless.examples("test", 6)
    assert endless.without({"test": [0, 4, 9]}).examples("test", 4) == [whole[n] for n in (1, 2, 3, 5)]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            "xxx",
            "abcd",
            r"can take none of 3 train rows of sums; change settings, such as max_tokens, .*\. The prompt",
        ),
        (
            "abcd",
            "xxx",
            r"can take none of 3 test rows of sums; .* sums test-x0 \(.*, line 1\)",
        ),
    ],
)
def test_where_no_row_fits_is_an_error_before_any_work(
    tmp_path: Path, train: str, test: str, message: str
) -> None:
    changes: dict[str, Any] = {"sequence": ["sums"], "train_examples": None if train == "xxx" else 4}
    with pytest.raises(InputError, match=message):
        make_plan(make_experiment(tmp_path, **settings(tmp_path, train, test, **changes)))


def test_of_fewer_rows_than_are_asked_for_all_that_fit_are_taken(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, **settings(tmp_path, "abcdx", "axxx", sequence=["sums"]))
    plan = make_plan(experiment)
    assert [(one.split, one.looked_at, [*one.problems]) for one in plan.left_out] == [
        ("test", 4, [1, 2, 3]),
        ("train", 5, [3, 4]),
    ]
    task = Inputs(experiment, plan).task("sums")
    assert len(task.examples("train")) == 3 and len(task.examples("test")) == 1
    assert experiment.count(task, "test") is None


def test_a_task_without_an_end_that_never_fits_is_not_drawn_for_ever(tmp_path: Path) -> None:
    changes = {"sequence": ["counting"], "model": {"max_context": 20}}
    with pytest.raises(InputError, match="can take none of 16 test rows of counting"):
        make_plan(make_experiment(tmp_path, **settings(tmp_path, "abcd", "abcd", **changes)))


def test_a_plan_says_which_positions_it_passes_over(tmp_path: Path) -> None:
    skip = make_plan(make_experiment(tmp_path, **settings(tmp_path, "axbdcexf", "abcexd")))
    assert [one["without"] for one in inputs(skip, "learn", "sums")] == [[1, 3]]
    assert all("without" not in one for one in inputs(skip, "evaluate", "sums"))
    assert [(one.task, one.split, one.looked_at, [*one.problems]) for one in skip.left_out] == [
        ("sums", "train", 6, [1, 3])
    ]
    stop = make_plan(make_experiment(tmp_path, **settings(tmp_path, "axbdcexf", "abcexd", bad_rows="stop")))
    assert stop.left_out == ()
    kept = {"evaluate"}  # of the base; all that learned on other rows is another's
    for job in stop.jobs.values():
        assert (job.fingerprint in skip.jobs) == (job.kind in kept and job.policy is None), job.label
    whole = settings(tmp_path, "abcgef", "abce")
    del whole["bad_rows"]
    one, other = (make_plan(make_experiment(tmp_path, **whole, bad_rows=mode)) for mode in ("skip", "stop"))
    assert one.digest() == other.digest()


@pytest.mark.slow
def test_rows_left_out_leave_the_bits_of_data_that_lack_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plan, run, Python and pruning agree; what is remembered needs no model."""
    experiment = make_experiment(tmp_path / "bad", **settings(tmp_path / "bad", "axbdce", "xabxce"))
    check_rows(experiment)  # says nothing
    results = holdfast.run(experiment)
    assert [one.text for one in results.left_out] == [
        "2 of 6 test rows of sums are left out: the model cannot take them",
        "2 of 6 train rows of sums are left out: the model cannot take them",
    ]
    clean = make_experiment(tmp_path / "clean", **settings(tmp_path / "clean", "abce", "abce"))
    assert not run_here(clean).failed

    def weights_and_records(store: Path) -> list[Any]:
        found = snapshot(store)
        return sorted(
            content for name, content in found.items() if name.endswith((".safetensors", "records.jsonl"))
        )

    assert weights_and_records(experiment.store) == weights_and_records(clean.store)

    monkeypatch.setattr(ready, "encoder_of", None)
    assert holdfast.load_results(experiment).cells().equals(results.cells())
    assert run_here(experiment, workers=1).done == 0
    config = tmp_path / "bad" / "tiny.yaml"
    assert candidates(Store(experiment.store), weights=False, damaged=False, configs=[config]) == []
    monkeypatch.undo()
    known = (experiment.store / MEMORY).read_bytes()
    (experiment.store / MEMORY).unlink()
    assert run_here(experiment).done == 0  # found anew, and the same
    assert (experiment.store / MEMORY).read_bytes() == known


@pytest.mark.slow
def test_workers_leave_out_the_same_rows(tmp_path: Path) -> None:
    one, two = (
        make_experiment(tmp_path / name, **settings(tmp_path, "axbdce", "xabxce")) for name in ("one", "two")
    )
    assert not run_here(one).failed
    assert not run_here(two, workers=2).failed
    assert snapshot(one.store) == snapshot(two.store)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_run_that_is_killed_goes_on_without_the_row_and_says_so(tmp_path: Path, call: Call) -> None:
    """From the command line, with the embedded model and one row that is too long."""
    changes = settings(tmp_path, "axbce", "abcd", checkpoint_every=1)
    changes["methods"] = {"sft": SFT | {"iterations": 8}}
    config = write_config(tmp_path, changes)
    undisturbed = make_experiment(tmp_path / "whole", **changes)
    assert not run_here(undisturbed).failed

    work = tmp_path / "store" / "work"
    process = start(tmp_path / "said", "run", config)
    until = time.monotonic() + 60
    while not any(work.glob("*/metrics.jsonl")) and process.is_alive() and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    said = call("run", config, "--no-report")
    assert said.code == 0, said.err
    what = "1 of 5 train rows of sums is left out: the model cannot take it"
    row = f"The prompt of sums train-x1 ({tmp_path}/data/train.jsonl, line 2) has "
    assert f"{what}:\n  {row}" in said.err
    assert snapshot(tmp_path / "store") == snapshot(undisturbed.store)

    planned = call("plan", config)
    assert f"{what}:\n  {row}" in planned.err
    assert "to do" not in planned.out.replace("0 to do", "")
    assert call("report", config).code == 0
    report = tmp_path / "out" / "report"
    assert what in (report / "report.md").read_text()
    (shown,) = files.read_json(report / "tables" / "left_out.json")["rows"]
    assert (shown["task"], shown["split"], shown["row"]) == ("sums", "train", 2)
    assert shown["problem"].startswith(row)

    stopped = call("plan", config, "bad_rows=stop")
    assert stopped.code == 2
    assert row in stopped.err


def test_a_checkpoint_is_asked_what_it_can_take(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = f"tasks.sums={{test: {data(tmp_path, 'a', 'axbyc')['test']}}}"
    asked = (tasks, "prompts=embedded", "evaluation.max_tokens=16", "test_examples=5")
    stopped = call("evaluate", "embedded", *asked, "--out", tmp_path / "old")
    assert stopped.code == 2
    assert "sums test-x1" in stopped.err
    said = call("evaluate", "embedded", *asked, "bad_rows=skip", "--out", tmp_path / "old")
    assert said.code == 0, said.err
    assert "1 of 5 test rows of sums is left out: the model cannot take it" in said.err
    records = files.read_jsonl(tmp_path / "old" / "records" / "sums.jsonl")
    assert [record["id"] for record in records] == ["test-a", "test-b", "test-y", "test-c"]
    assert files.read_json(tmp_path / "old" / "records" / "sums.json")["inputs"]["without"] == [1]
    same = call("check", tmp_path / "old", "embedded", *asked, "bad_rows=skip", "--out", tmp_path / "check")
    assert same.code == 0, same.err
    longer = (*asked, "bad_rows=skip", "model.max_context=100")
    other = call("check", tmp_path / "old", "embedded", *longer, "--out", tmp_path / "check")
    assert other.code == 2
    assert "sums is asked in different ways" in other.err
    assert "examples is 4 in the folder and 3 now" in other.err


def test_what_turned_is_asked_again_among_the_rows_that_were_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = f"tasks.sums={{test: {data(tmp_path, 'a', 'axbc')['test']}}}"
    more = ("prompts=embedded", "evaluation.max_tokens=16", "bad_rows=skip", "evaluation.temperature=1")
    exam = load_exam([tasks, *more, f"store={tmp_path / 'store'}"], tasks=["sums"])
    asked = []

    def evaluate(generator: LocalGenerator, task: Task, examples: list[Example], _: Any) -> list[Any]:
        asked.append([example.id for example in examples])
        return [{"score": 1.0}] * len(examples)

    def judgement(*scores: float) -> Examined:
        records = [{"score": score, "response": ""} for score in scores]
        return Examined("sums", "embedded", {}, records, 0.0, 0.0, "")

    monkeypatch.setattr("holdfast.checkpoints.noise.evaluate", evaluate)
    with pytest.raises(HoldfastError, match=r"It is the setting evaluation\.temperature=0"):
        check_noise([judgement(1, 1, 0)], [judgement(1, 0, 1)], exam, partial(find_subject, "embedded"), 0.0)
    assert asked == [["test-b", "test-c"]] * 2


def test_embedded_tasks_are_looked_at_too(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"of reading reading/test/000000 has \d+ tokens, more than the context of 20"
    ):
        check_rows(make_experiment(tmp_path, model={"max_context": 20}))


def test_a_model_that_is_not_here_cannot_say_what_to_skip(tmp_path: Path) -> None:
    path = {"path": "no-one/nothing"}
    with pytest.raises(
        InputError, match=r"no-one/nothing \(model.path\) is not on this disk; 'hf download no-one"
    ):
        make_plan(make_experiment(tmp_path, model=path, bad_rows="skip"))
    with pytest.raises(InputError) as refused:
        load_model("no-one/nothing", ModelSettings(**path))
    assert str(refused.value) == (
        "The model no-one/nothing (model.path) is not on this disk, or not all of it, and the hub cannot be "
        "reached. Download it first ('hf download no-one/nothing'), or give the folder of a model."
    )


def test_the_hub_is_asked_once_before_a_checkpoint_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def reach(*what: object) -> None:
        asked.append(what)
        raise OSError("no way there")

    monkeypatch.setattr("holdfast.hub.reach", reach)
    monkeypatch.setattr(Policy, "load", None)
    exam = load_exam([f"store={tmp_path}", "test_examples=2"], tasks=["reading"])
    subject = find_subject("no-one/nothing", exam)
    with pytest.raises(
        InputError, match=r"no-one/nothing \(model.path\) is not on this disk, or not all of it"
    ):
        subject.load()
    assert asked == [("model", "no-one/nothing", None)]
    experiment = make_experiment(tmp_path / "run", model={"path": "no-one/nothing"})
    with pytest.raises(InputError, match=r"no-one/nothing \(model.path\) is not on this disk, or not"):
        holdfast.run(experiment)
    assert len(asked) == 2 and not (tmp_path / "run/out/config.yaml").exists()


def test_a_row_whose_answer_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(*_: object) -> None:
        raise NotFiniteError(1)

    policy = Policy.load("embedded", ModelSettings())
    monkeypatch.setattr(policy, "sample", sample)
    items = [(TASKS["facts"], Example(f"row-{n}", "a", "x", place=f"t.jsonl, line {n}")) for n in (1, 2)]
    asked = questions(items, "direct", {"direct": "{prompt}"})
    with pytest.raises(NotFiniteError, match=r"output for facts row-2 \(t.jsonl, line 2\) is not finite"):
        list(LocalGenerator(policy).generate(asked, 1, Sampling(max_tokens=4), ("s",)))
