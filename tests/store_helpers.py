"""A store, and results in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiment_helpers import make_experiment
from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.experiment.plan import Job, Plan, make_plan
from holdfast.experiment.store import Damaged, Store


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return make_experiment(tmp_path, methods={"r": {"objective": "grpo", "filter": "rif"}})


@pytest.fixture
def plan(experiment: Experiment) -> Plan:
    return make_plan(experiment)


@pytest.fixture
def store(experiment: Experiment) -> Store:
    return Store(experiment.store)


def fill(store: Store, job: Job, text: str = "0123456789") -> None:
    with store.writing(job) as folder:
        files.write_jsonl(folder / "records.jsonl", [{"text": text}])
        files.write_json(folder / "result.json", {"seconds": 1.0})
        if job.kind == "learn":
            files.write_text(folder / "weights" / "model.safetensors", text)


def fail_on_damage(job: Job, damage: Damaged) -> None:
    pytest.fail(f"{job.label}: {damage}")


def learn_jobs(plan: Plan) -> list[Job]:
    return [plan.jobs[name] for name in plan.chains[0].learn]
