"""All ten benchmarks through a whole experiment: prepare, filter, learn, evaluate, report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiment_helpers import run_here, write_config
from holdfast.config import load_experiment
from holdfast.experiment.collect import collect
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.learning.filters import pass_rates
from holdfast.learning.settings import Method
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.report.page import build
from holdfast.tasks.catalog import get_task
from holdfast.tasks.hub import BENCHMARKS, GENERAL, SEQUENCE
from holdfast.tasks.hub.source import from_folder
from holdfast.tasks.prepare import prepare
from hub_fixtures import HUB, OFFICIAL

TEMPLATES = {"cot": "{prompt} think", "direct": "{prompt} answer"}


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    for name in (*SEQUENCE, *GENERAL):
        # The hub's VizWiz has no training split.
        (OFFICIAL if name == "vizwiz" else HUB)[name](tmp_path / name)
        prepare(BENCHMARKS[name], from_folder(BENCHMARKS[name], tmp_path / name), tmp_path / "data" / name)


@pytest.mark.usefixtures("prepared")
def test_the_studys_sequence(tmp_path):
    changes = {
        "sequence": list(SEQUENCE), "general": list(GENERAL), "general_every_stage": False,
        "train_examples": 4, "test_examples": 2, "evaluation": {"max_tokens": 4, "batch": 2},
        "defaults": {
            "iterations": 1, "learning_rate": 1e-4, "batch": 2, "group_size": 2, "sampling": {"max_tokens": 4}
        },
    }  # fmt: skip
    experiment = load_experiment(write_config(tmp_path, changes))
    outcome = run_here(experiment)
    assert not outcome.failed
    plan = make_plan(experiment)
    results = collect(experiment, plan, Store(experiment.store), lambda job, damage: None)
    for run in results.runs:
        assert {task for _, task in run.cells} == {*SEQUENCE, *GENERAL}
        for records in run.cells.values():
            assert len(records) == 2
    build(results, tmp_path / "report")
    table = json.loads((tmp_path / "report" / "tables" / "headline.json").read_text())
    assert table["rows"]


@pytest.mark.usefixtures("prepared")
def test_filtering_grades_with_the_tasks_own_rule():
    policy = Policy.load("embedded", ModelSettings(device="cpu"))
    method = Method(
        objective="grpo", learning_rate=1e-4, filter="rif", filter_samples=2, sampling=Sampling(max_tokens=4)
    )
    tasks = [get_task(name) for name in SEQUENCE]
    items = [(task, task.examples("train", 1)[0]) for task in tasks]
    rows = pass_rates(
        policy, items, method, templates=TEMPLATES, stream=("test",), on_step=lambda done, of, values: None
    )
    assert [row["task"] for row in rows] == list(SEQUENCE)
    assert all(0 <= row["correct"] <= row["samples"] == 2 for row in rows)
