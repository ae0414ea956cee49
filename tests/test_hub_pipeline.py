"""All ten benchmarks from a release to a report: prepare, filter, SFT and GRPO, evaluate, report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cli_helpers import Call
from experiment_helpers import write_config
from holdfast import files
from holdfast.config.load import load_experiment
from holdfast.experiment.collect import collect
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.learning.loop import learn
from holdfast.learning.methods import make_method
from holdfast.learning.stage import Stage
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from holdfast.tasks.benchmarks import GENERAL, SEQUENCE
from holdfast.tasks.catalog import get_task
from holdfast.tasks.prompts import TEMPLATES
from hub_fixtures import HUB, OFFICIAL

Release = Callable[[Path], None]
TRAIN, TEST = 6, 2
# The hub's VizWiz has no training split.
STUDY: dict[str, Release] = {name: HUB[name] for name in (*SEQUENCE, *GENERAL)}
STUDY |= {"vizwiz": OFFICIAL["vizwiz"]}
FORMS = {
    "study": STUDY,
    "original": {name: OFFICIAL.get(name) or HUB[name] for name in (*SEQUENCE[:-1], "superclevr", *GENERAL)},
}


def taught(folder: Path, sequence: list[str]) -> Path:
    """The embedded model after it has seen the training rows, so that a filter has something to keep."""
    policy = Policy.load("embedded", ModelSettings(device="cpu"))
    tasks = [get_task(name) for name in sequence]
    items = [(task, example) for task in tasks for example in task.examples("train", TRAIN)]
    method = make_method(objective="sft", style="cot", learning_rate=4e-3, batch=len(items))
    stage = Stage(policy, items, method, 12, TEMPLATES["embedded"], ("taught",), lambda: policy)
    learn(stage, folder=folder / "work", checkpoint_every=100, on_step=lambda *_: None)
    policy.save(folder / "model")
    return folder / "model"


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("undrawn")
def test_from_releases_to_a_report(
    form: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    releases = FORMS[form]
    for name, release in releases.items():
        release(tmp_path / "releases" / name)
        said = call("data", "prepare", name, "--from", tmp_path / "releases" / name)
        assert said.code == 0, said.err
    sequence = [name for name in releases if name not in GENERAL]
    assert len(sequence) == 7 and len(releases) == 10
    changes = {
        "model": {"path": str(taught(tmp_path, sequence))},
        "sequence": sequence, "general": list(GENERAL), "general_every_stage": False,
        "train_examples": TRAIN, "test_examples": TEST, "evaluation": {"max_tokens": 8, "batch": TEST},
        "defaults": {
            "iterations": 1, "learning_rate": 1e-6, "batch": 2, "group_size": 2, "filter_samples": 4,
            "sampling": {"max_tokens": 8},
        },
        "methods": {
            "sft": {"objective": "sft", "joint": form == "original"},
            "rif": {"objective": "grpo", "filter": "rif"},
        },
    }  # fmt: skip
    config = write_config(tmp_path, changes)
    said = call("run", config)
    assert said.code == 0, said.err

    experiment = load_experiment(config)
    results = collect(experiment, make_plan(experiment), Store(experiment.store), lambda job, damage: None)
    for run in results.runs:
        stages = 1 if run.joint else len(sequence)
        last = {task for stage, task in run.cells if stage == stages}
        assert last == {*sequence, *GENERAL}
        assert all(len(records) == TEST for records in run.cells.values())
        assert len(run.curves) == stages
    rif = next(run for run in results.runs if run.method == "rif")
    found = [one for one in rif.filters if one is not None]
    assert len(found) == len(sequence)
    assert all(0 < one["kept"] <= one["total"] == TRAIN for one in found)
    assert any(one["kept"] < TRAIN for one in found)
    report = tmp_path / "out" / "report"
    assert (report / "index.html").stat().st_size > 10_000
    rows = files.read_json(report / "tables" / "headline.json")["rows"]
    assert [row["method"].removesuffix(" (joint)") for row in rows] == ["base model", "sft", "rif"]
