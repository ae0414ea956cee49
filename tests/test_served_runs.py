"""Experiments whose completions another engine draws: their jobs, their names, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli_helpers import Call
from engine_server import EngineServer
from experiment_helpers import TINY, make_experiment, run_here, snapshot
from holdfast.config.load import load_exam
from holdfast.errors import InputError
from holdfast.experiment.plan import Plan, make_plan
from holdfast.experiment.store import Store
from holdfast.files import read_jsonl
from test_learning import grpo


def experiment_of(folder: Path, engine: EngineServer, **method: Any) -> Any:
    settings = {"objective": "grpo", "sampler": engine.sampler(), "iterations": 4, **method}
    return make_experiment(
        folder, methods={"grpo": settings}, sequence=["counting"], general=[], checkpoint_every=1
    )


@pytest.mark.slow
def test_a_run_whose_engine_died_goes_on_from_its_checkpoint(engine: EngineServer, tmp_path: Path) -> None:
    engine.weight_version = "default"
    whole = experiment_of(tmp_path / "whole", engine)
    assert not run_here(whole).failed
    engine.questions.clear()

    cut = experiment_of(tmp_path / "cut", engine)
    engine.dies_after = 10  # 4 a batch: in the third of four iterations
    ((_, said),) = run_here(cut).failed.items()
    assert "failed in 2 attempts, last: " in said
    assert list((tmp_path / "cut" / "store" / "work").glob("*/checkpoint"))
    engine.dies_after, engine.down = None, False
    engine.questions.clear()
    assert not run_here(cut).failed
    assert len(engine.questions) == 2 * 4  # the two iterations that were left
    assert snapshot(cut.store) == snapshot(whole.store)
    (curve,) = (read_jsonl(path) for path in cut.store.glob("learn/*/metrics.jsonl"))
    assert [row["step"] for row in curve] == [0, 1, 2, 3]
    assert all(row["sampler_gap"] < 1e-4 and row["sampler_ratio_max"] < 1.01 for row in curve)


@pytest.mark.slow
def test_a_stage_of_shards_asks_a_server_too(engine: EngineServer, tmp_path: Path) -> None:
    sharded = experiment_of(tmp_path, engine, shards=2, iterations=1)
    assert not run_here(sharded).failed
    (curve,) = (read_jsonl(path) for path in sharded.store.glob("learn/*/metrics.jsonl"))
    assert curve[0]["sampler_gap"] < 1e-4


@pytest.mark.slow
def test_filters_and_evaluations_ask_it_too(engine: EngineServer, tmp_path: Path) -> None:
    changes = {"sequence": ["counting"], "general": [], "methods": {"rif": {"objective": "grpo"}}}
    evaluation = TINY["evaluation"]
    own = make_experiment(tmp_path / "own", **changes)
    assert not run_here(own).failed
    assert not engine.questions
    served = make_experiment(
        tmp_path / "served",
        **changes
        | {
            "methods": {"rif": {"objective": "grpo", "filter": "rif", "sampler": engine.sampler()}},
            "evaluation": evaluation | {"sampler": engine.sampler()},
        },
    )
    assert not run_here(served).failed
    asked = {(body.get("n", 1), body["temperature"]) for body in engine.questions}
    assert asked == {(4, 1.0), (2, 1.0), (1, 0.0)}  # filter, roll-outs, evaluation

    def base(experiment: Any) -> list[dict[str, Any]]:
        plan = make_plan(experiment)
        job = plan.jobs[plan.chains[0].cells[0, "counting"]]
        return Store(experiment.store).rows(job, "records.jsonl")

    assert base(served) == base(own)  # greedy answers of the same weights


def kinds(plan: Plan) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for job in plan.jobs.values():
        found.setdefault(job.kind, set()).add(job.fingerprint)
    return found


def test_results_are_named_after_the_engine_but_not_after_where_it_is(
    engine: EngineServer, tmp_path: Path
) -> None:
    def planned(
        sampler: dict[str, Any] | None, evaluation: dict[str, Any] | None = None
    ) -> dict[str, set[str]]:
        settings = {"objective": "grpo", "filter": "rif"} | ({} if sampler is None else {"sampler": sampler})
        judged = TINY["evaluation"] | ({} if evaluation is None else {"sampler": evaluation})
        return kinds(make_plan(make_experiment(tmp_path, methods={"g": settings}, evaluation=judged)))

    own, served = planned(None), planned(engine.sampler())
    assert planned(engine.sampler(url="http://elsewhere:1/v1", timeout=5, refuse=1.0)) == served
    assert own["learn"].isdisjoint(served["learn"]) and own["filter"].isdisjoint(served["filter"])
    assert len(own["evaluate"] & served["evaluate"]) == 3  # of the base
    newer, looser = planned(engine.sampler(version="0.34.0")), planned(engine.sampler(most=4.0))
    assert newer["learn"].isdisjoint(served["learn"]) and newer["filter"].isdisjoint(served["filter"])
    assert looser["learn"].isdisjoint(served["learn"])
    assert looser["filter"] & served["filter"]  # of the first stage: nothing is corrected there
    judged = planned(None, engine.sampler())
    assert judged["learn"] == own["learn"] and judged["evaluate"].isdisjoint(own["evaluate"])
    method = grpo()
    assert "sampler" not in method.determining(["counting"])


def test_settings_of_a_sampler_are_checked(engine: EngineServer, tmp_path: Path, call: Call) -> None:
    sampler = {key: value for key, value in engine.sampler().items() if key != "version"}
    with pytest.raises(InputError, match=r"methods\.g\.sampler\.version: is missing"):
        make_experiment(tmp_path, methods={"g": {"objective": "grpo", "sampler": sampler}})
    keyed = engine.sampler() | {"url": "http://user:secret@host/v1"}
    with pytest.raises(InputError, match=r"methods\.g\.sampler\.url: http://host/v1 is not a server") as told:
        make_experiment(tmp_path, methods={"g": {"objective": "grpo", "sampler": keyed}})
    assert "secret" not in str(told.value)
    many = {"objective": "grpo", "shards": 2, "sampler": engine.sampler()}
    with pytest.raises(InputError, match=r"methods\.g\.sampler: a server follows one device, not 2"):
        make_experiment(tmp_path, methods={"g": many}, devices=2)
    with pytest.raises(InputError, match="name a server's address in the place of a model"):
        load_exam([f"evaluation.sampler={engine.sampler()}"], tasks=["counting"])
    experiment = make_experiment(tmp_path, evaluation=TINY["evaluation"] | {"sampler": engine.sampler()})
    exam = load_exam(like=tmp_path / "tiny.yaml", tasks=["counting"])
    assert experiment.evaluation.sampler is not None and exam.evaluation.sampler is None
