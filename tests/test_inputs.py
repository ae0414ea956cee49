"""What jobs read is what their fingerprints say when they read it, not only when they are planned."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from experiment_helpers import make_experiment
from holdfast import files, plugins
from holdfast.checkpoints.examine import examine
from holdfast.checkpoints.subject import find_subject
from holdfast.config.experiment import Experiment
from holdfast.config.load import load_exam
from holdfast.errors import InputError
from holdfast.experiment import identity, jobs
from holdfast.experiment.identity import HASHES, folder_digests
from holdfast.experiment.jobs import Runner
from holdfast.experiment.plan import Job, Plan, make_plan
from holdfast.experiment.store import Store
from holdfast.policy.policy import Policy
from holdfast.policy.settings import EMBEDDED
from holdfast.weights import INDEX


def own_task(folder: Path) -> dict[str, Any]:
    """A task of four rows with a picture each."""
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(folder / f"{number}.png")
    for split in ("train", "test"):
        rows = [
            {"prompt": "How many?", "answer": str(number), "images": f"{number}.png"} for number in range(4)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"scorer": "number", "train": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl")}


def experiment_on(folder: Path, **changes: Any) -> Experiment:
    settings: dict[str, Any] = {
        "tasks": {"own": own_task(folder)},
        "sequence": ["own"],
        "general": [],
        "train_examples": 4,
        "test_examples": 4,
        "methods": {"sft": {"objective": "sft", "iterations": 2, "batch": 2}},
    }
    return make_experiment(folder, **(settings | changes))


def planned(experiment: Experiment, kind: str) -> tuple[Plan, Job]:
    """The plan, and its first job of a kind, which starts from the base."""
    plan = make_plan(experiment)
    return plan, next(job for job in plan.jobs.values() if job.kind == kind)


def attempt(experiment: Experiment, plan: Plan, job: Job) -> None:
    Runner(experiment, plan, Store(experiment.store)).run(job, False, lambda *_: None)


@pytest.mark.parametrize(("kind", "split"), [("evaluate", "test"), ("learn", "train")])
def test_data_that_changed_since_the_plan_fail_the_job(tmp_path: Path, kind: str, split: str) -> None:
    experiment = experiment_on(tmp_path)
    plan, job = planned(experiment, kind)
    path = tmp_path / f"{split}.jsonl"
    good = path.read_text()
    path.write_text(good.replace('"answer": "1"', '"answer": "2"'))
    with pytest.raises(
        InputError, match=rf"task own \(.*{split}\.jsonl.* changed after the run was planned; run"
    ):
        attempt(experiment, plan, job)
    assert not Store(experiment.store).has(job)
    path.write_text(good)
    attempt(experiment, plan, job)
    assert Store(experiment.store).has(job)


def test_data_that_are_other_only_while_they_are_read_fail_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.tasks.jsonl import JsonlFile

    experiment = experiment_on(tmp_path)
    plan, job = planned(experiment, "evaluate")
    path, parse = tmp_path / "test.jsonl", JsonlFile._parse

    def parse_another(self: JsonlFile, count: int) -> Any:
        path.write_text(path.read_text().replace('"answer": "1"', '"answer": "2"'))
        return parse(self, count)

    monkeypatch.setattr(JsonlFile, "_parse", parse_another)
    with pytest.raises(InputError, match="changed after the run was planned"):
        attempt(experiment, plan, job)
    assert not Store(experiment.store).has(job)


def test_a_picture_that_changes_under_a_job_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = experiment_on(tmp_path)
    plan, job = planned(experiment, "evaluate")
    load = Policy.load

    def change_first(*arguments: Any) -> Policy:
        os.utime(tmp_path / "2.png", (0, 0))
        return load(*arguments)

    runner, store = Runner(experiment, plan, Store(experiment.store)), Store(experiment.store)
    runner.examples("own", "test")  # as an earlier job did
    monkeypatch.setattr(Policy, "load", change_first)
    with pytest.raises(
        InputError, match=r"The picture .*2\.png changed after the run was planned; run again"
    ):
        runner.run(job, False, lambda *_: None)
    assert not store.has(job)
    assert not store.work(job).exists()  # rows with the other picture are not gone on from


def test_a_picture_that_is_copied_over_with_its_size_and_time_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `cp -p` and archives do it. One whose mode alone is another is the same."""
    experiment = experiment_on(tmp_path)
    path, other = tmp_path / "2.png", tmp_path / "other.png"
    for number, place in enumerate((path, other)):
        Image.new("RGB", (32, 32), (0, number, 0)).save(place, compress_level=0)
        os.utime(place, (0, 0))
    plan, job = planned(experiment, "evaluate")
    store = Store(experiment.store)
    load, replaced = Policy.load, list[Path]()

    def change_first(*arguments: Any) -> Policy:
        replaced.append(path)
        path.chmod(0o600) if len(replaced) == 2 else shutil.copy2(other, path)
        return load(*arguments)

    monkeypatch.setattr(Policy, "load", change_first)
    before = path.read_bytes()

    def judge() -> None:
        runner = Runner(experiment, plan, store)
        runner.examples("own", "test")  # as an earlier job did
        runner.run(job, False, lambda *_: None)

    with pytest.raises(
        InputError, match=r"or a picture there\) changed after the run was planned; run again"
    ):
        judge()
    assert not store.has(job)
    path.write_bytes(before)
    judge()
    assert store.has(job) and len(replaced) == 2


def test_examples_are_kept_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = experiment_on(tmp_path)
    plan, _ = planned(experiment, "evaluate")
    runner = Runner(experiment, plan, Store(experiment.store))
    twice = runner.examples("own", "test"), runner.examples("own", "test")
    assert all(one is other for one, other in zip(*twice, strict=True))
    monkeypatch.setattr(jobs, "EXAMPLE_BYTES", 1)
    runner = Runner(experiment, plan, Store(experiment.store))
    assert runner.examples("own", "test") == runner.examples("own", "test")
    assert not len(runner._kept_examples)  # read again each time


def copy_of_the_model(folder: Path) -> Path:
    shutil.copytree(EMBEDDED, folder)
    return folder


def change_weights(model: Path) -> None:
    path = model / "model.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(path).items()}, path, {"format": "pt"})


@pytest.mark.parametrize("late", [False, True], ids=["before", "while it is loaded"])
@pytest.mark.parametrize("kind", ["evaluate", "learn"])
def test_a_base_that_changed_since_the_plan_fails_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, late: bool
) -> None:
    model = copy_of_the_model(tmp_path / "model")
    experiment = experiment_on(tmp_path, model={"path": str(model)})
    plan, job = planned(experiment, kind)
    load = Policy.load

    def load_another(*arguments: Any) -> Policy:
        change_weights(model)
        return load(*arguments)

    if late:
        monkeypatch.setattr(Policy, "load", load_another)
    else:
        change_weights(model)
    with pytest.raises(
        InputError, match=rf"The model {model} changed \(model\.safetensors\) after the run was"
    ):
        attempt(experiment, plan, job)
    assert not Store(experiment.store).has(job)


def test_a_checkpoint_that_changed_since_it_was_found_is_not_asked(tmp_path: Path) -> None:
    model = copy_of_the_model(tmp_path / "model")
    exam = load_exam(
        [f"store={tmp_path / 'store'}", "test_examples=2", "evaluation.max_tokens=16"], tasks=["reading"]
    )
    subject = find_subject(str(model), exam)
    change_weights(model)
    with pytest.raises(InputError, match=r"model changed \(model\.safetensors\) after the run was planned"):
        examine(subject, exam)


def test_code_that_changed_between_its_run_and_the_plan_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rules.py"
    path.write_text("def score(answer, example):\n    return 1.0\n")
    plugins.load(f"{path}:score")
    path.write_text("def score(answer, example):\n    return 0.0\n")
    known = plugins.code([f"{path}:score"])  # what the plan sees is not what runs
    with pytest.raises(InputError, match="has changed since this run began"):
        plugins.check_unchanged(known)


@pytest.mark.parametrize(
    "damage", ["", "[1]", '{"version": 2}', '{"version": 2, "found": {"a": 2}}', "folder"]
)
def test_hashes_are_found_again_where_their_memory_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Nor does a memory that cannot be written stop a run."""
    monkeypatch.setattr(identity, "REMEMBER_FROM", 1)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_text("weights")
    memory = tmp_path / HASHES
    if damage == "folder":
        memory.mkdir()
    else:
        memory.write_text(damage)
    hashes = folder_digests(tmp_path / "model", memory)
    assert hashes == {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    read: list[Path] = []
    monkeypatch.setattr(files, "file_digest", lambda path: read.append(path) or "again")
    folder_digests(tmp_path / "model", memory)
    assert len(read) == (damage == "folder")


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/x.safetensors", "sub/x.safetensors", "..", "", "a\\b"]
)
def test_an_index_may_name_weights_in_its_folder_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": name}}))
    with pytest.raises(InputError, match="must lie in the model's own folder"):
        folder_digests(tmp_path, tmp_path / HASHES)


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": []}', "{", "[" * 100_000])
def test_an_index_that_is_none_is_refused_in_clear_words(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(InputError, match=r"The index of weights .* cannot be used"):
        folder_digests(tmp_path, tmp_path / HASHES)


def test_what_an_index_names_is_part_of_the_identity(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "part-1.safetensors"}}))
    (tmp_path / "part-1.safetensors").write_text("1")
    before = folder_digests(tmp_path, tmp_path / "memory" / HASHES)
    (tmp_path / "part-1.safetensors").write_text("2")
    after = folder_digests(tmp_path, tmp_path / "memory" / HASHES)
    assert before.keys() == after.keys() == {"part-1.safetensors", INDEX}
    assert before["part-1.safetensors"] != after["part-1.safetensors"]


def test_weights_of_equal_size_and_time_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As archives leave them that give all files one time."""
    monkeypatch.setattr(identity, "REMEMBER_FROM", 1)
    found = []
    for content in ("one", "two"):
        (tmp_path / "model.safetensors").write_text(content)
        os.utime(tmp_path / "model.safetensors", (0, 0))
        found.append(folder_digests(tmp_path, tmp_path / "memory" / HASHES)["model.safetensors"])
    assert found == [hashlib.sha256(content).hexdigest() for content in (b"one", b"two")]
