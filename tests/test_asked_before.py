"""A checkpoint that was asked before is asked in the same way again, but for what the command line says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, write_config
from holdfast import files
from holdfast.checkpoints.known import Known, known_of
from holdfast.experiment.plan import make_plan
from holdfast.experiment.runindex import write_index
from holdfast.experiment.store import Store
from holdfast.policy.policy import Policy

# A method of another style than the first, and settings that no command line here repeats.
CHANGES: dict[str, Any] = {
    "sequence": ["reading"],
    "test_examples": 6,
    "evaluation": {"max_tokens": 11, "batch": 3, "temperature": 0.7},
    "seeds": [4],
    "methods": {"sft": {"objective": "sft", "style": "direct"}, "grpo": {"objective": "grpo"}},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in `out` and its store in `store`."""
    folder = tmp_path_factory.mktemp("ran")
    experiment = make_experiment(folder, **CHANGES)
    assert not run_here(experiment).failed
    plan, store = make_plan(experiment), Store(experiment.store)
    write_index(experiment, plan, store)
    files.write_text(folder / "out" / "config.yaml", yaml.safe_dump(experiment.resolved()))
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def stage(ran: Path, method: str) -> Path:
    (row,) = (
        row
        for row in files.read_jsonl(ran / "out" / "index.jsonl")
        if row["kind"] == "learn" and row["method"] == method
    )
    return Path(row["folder"]) / "weights"


@pytest.mark.slow
@pytest.mark.parametrize(("method", "style"), [("sft", "direct"), ("grpo", "cot")])
def test_a_stage_is_asked_as_its_run_asks_it(
    ran: Path, call: Call, monkeypatch: pytest.MonkeyPatch, method: str, style: str
) -> None:
    monkeypatch.setattr(Policy, "load", None)  # all of it has been asked
    said = call("evaluate", stage(ran, method), "--out", "asked")
    assert said.code == 0, said.err
    assert said.out.count("(done ") == 2
    line = next(line for line in said.out.splitlines() if line.startswith("Asked as "))
    place, *parts = line.removesuffix(".").replace("): ", ")\n").replace("; ", "\n").splitlines()
    assert place == f"Asked as {ran / 'out'} asks it ({method}, seed 4, stage 1)"
    assert set(parts) == {
        "tasks reading, presence", "prompts=embedded", "test_examples=6", "evaluation.temperature=0.7",
        "evaluation.max_tokens=11", "evaluation.batch=3", *(["style=direct"] if style == "direct" else []),
    }  # fmt: skip
    assert files.read_json(Path("asked/records/reading.json"))["inputs"]["style"] == style


@pytest.mark.slow
def test_what_is_said_counts_before_what_is_known(ran: Path, call: Call) -> None:
    options = ("evaluation.max_tokens=5", "test_examples=4", "evaluation.temperature=0")
    said = call("evaluate", stage(ran, "grpo"), "--tasks", "counting", *options, "--out", "asked")
    assert said.code == 0, said.err
    assert "stage 1): prompts=embedded; evaluation.batch=3.\n" in said.out
    asked = files.read_json(Path("asked/records/counting.json"))["inputs"]
    assert (asked["examples"], asked["sampling"]["max_tokens"], asked["sampling"]["temperature"]) == (4, 5, 0)
    # A suite and --like say all of it themselves.
    other = write_config(Path.cwd() / "other", {"test_examples": 2})
    said = call("evaluate", stage(ran, "grpo"), "--like", other, "--tasks", "reading", "--out", "liked")
    assert said.code == 0 and "Asked as" not in said.out
    assert files.read_json(Path("liked/records/reading.json"))["inputs"]["examples"] == 2


def test_a_new_checkpoint_is_asked_as_the_folder_of_the_old_one(
    ran: Path, call: Call, tmp_path: Path
) -> None:
    rows = "".join(f'{{"prompt": "say {word}", "answer": "{word}"}}\n' for word in "abc")
    (tmp_path / "mine.jsonl").write_text(rows)
    options = ("prompts=embedded", "evaluation.max_tokens=7", "style=direct", "test_examples=5")
    own = f"tasks.mine={{test: {tmp_path / 'mine.jsonl'}}}"
    assert call("evaluate", "embedded", "--tasks", "reading,mine", own, *options, "--out", "old").code == 0
    copy = tmp_path / "new"
    shutil.copytree(stage(ran, "grpo"), copy)  # the run is not asked: other answers are there already
    for new, out in ((copy, "one"), (stage(ran, "grpo"), "other")):
        said = call("check", "old", new, "--out", out)
        assert said.code in (0, 3), said.err
        assert (
            "Asked as old was: prompts=embedded; test_examples=5; evaluation.max_tokens=7; style=d"
            in said.out
        )
        assert "reading" in said.out and "mine" in said.out
    refused = call("check", "old", copy, "style=cot", "--out", "compared")
    assert refused.code == 2 and "style is 'direct' in the folder and 'cot' now" in refused.err
    # Records of earlier versions do not say it; then nothing is guessed.
    path = Path("old/records/mine.json")
    files.write_json(path, {key: value for key, value in files.read_json(path).items() if key != "asked"})
    assert known_of(["old", str(stage(ran, "grpo"))]) is None


def test_nothing_that_a_folder_names_is_run(ran: Path, call: Call, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(ran, moved)
    config = yaml.safe_load((moved / "out/config.yaml").read_text())
    config["tasks"] = {"reading": f"{moved / 'hit.py'}:make"}
    (moved / "hit.py").write_text("raise SystemExit(9)\n")
    files.write_text(moved / "out/config.yaml", yaml.safe_dump(config))
    said = call(
        "evaluate", moved / stage(ran, "sft").relative_to(ran), "--tasks", "presence", "test_examples=2",
        "evaluation.max_tokens=4",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "Not asked as" in said.err and "names code" in said.err and "--like" in said.err
    lacking = call("evaluate", moved / stage(ran, "sft").relative_to(ran), "--tasks", "own-rows")
    assert lacking.code == 2 and "Not asked as" in lacking.err  # says why the run's tasks are not known
    assert "There is no task 'own-rows'" in lacking.err and "asked with --like CONFIG" in lacking.err
    config["tasks"], config["evaluation"]["foresight"] = {}, 3
    files.write_text(moved / "out/config.yaml", yaml.safe_dump(config))
    known = known_of([str(moved / stage(ran, "sft").relative_to(ran))])
    assert known and not known.settings and "does not know all of its settings" in known.trouble


def test_what_no_run_counts_on_is_asked_as_ever(ran: Path, tmp_path: Path) -> None:
    alone = tmp_path / "runs" / "store" / "learn" / stage(ran, "sft").parent.name
    shutil.copytree(stage(ran, "sft").parent, alone)
    assert known_of([str(alone / "weights")]) is None
    # A copy is known by its files.
    shutil.copytree(alone / "weights", tmp_path / "model")
    shutil.copytree(ran / "out", tmp_path / "runs" / "mine")
    known = known_of([str(tmp_path / "model")])
    assert known and known.place == "runs/mine asks it (sft, seed 4, stage 1)"
    assert known_of(["embedded", "https://server/v1", str(tmp_path)]) is None


def test_a_number_for_each_task_is_said_as_it_would_be_typed() -> None:
    known = Known("runs/mine asks it", {"test_examples": {"reading": 5, "presence": 20}}, ("reading",))
    assert "; test_examples={presence: 20, reading: 5}." in known.taken((), ())
    many = Known("runs/mine asks it", {"test_examples": {f"task_{n}": n for n in range(40)}}, ("reading",))
    assert many.taken((), ()).endswith("; test_examples.")
