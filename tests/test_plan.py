"""Which jobs an experiment has, which of them are one, and what a change of a setting changes."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from experiment_helpers import TINY, make_experiment, run_here
from holdfast.experiment import estimate
from holdfast.experiment.plan import Plan, make_plan
from holdfast.experiment.store import Store
from holdfast.learning.methods import make_method


def plan(folder: Path, **changes: Any) -> Plan:
    return make_plan(make_experiment(folder, **changes))


def kinds(plan: Plan) -> Counter[str]:
    return Counter(job.kind for job in plan.jobs.values())


def with_defaults(**changes: Any) -> dict[str, Any]:
    return {"defaults": copy.deepcopy(TINY["defaults"]) | changes}


def test_counts_and_shared_jobs(tmp_path: Path) -> None:
    made = plan(tmp_path)
    # Two methods of two stages; the base on three sets, then 2 + 3 cells each.
    assert kinds(made) == {"learn": 4, "evaluate": 3 + 2 * 5}
    assert made.asked == 20  # the second method's base cells are the first one's
    assert [set(chain.cells) for chain in made.chains] == [
        {(stage, task) for stage in (0, 1, 2) for task in ("reading", "counting")}
        | {(0, "presence"), (2, "presence")}
    ] * 2


def test_parents_come_first(tmp_path: Path) -> None:
    made = plan(tmp_path, methods={"r": {"objective": "grpo", "filter": "rif"}})
    seen: set[str] = set()
    for name, job in made.jobs.items():
        assert set(job.parents) <= seen
        seen.add(name)
    assert kinds(made)["filter"] == 2


def test_the_same_settings_under_two_names_are_one_chain(tmp_path: Path) -> None:
    twice = plan(tmp_path, methods={name: {"objective": "sft"} for name in ("a", "b")})
    assert kinds(twice)["learn"] == 2
    assert twice.chains[0].learn == twice.chains[1].learn


def test_seeds_share_the_base_only(tmp_path: Path) -> None:
    assert kinds(plan(tmp_path, seeds=[0, 1])) == {"learn": 8, "evaluate": 3 + 4 * 5}


def test_sampled_answers_depend_on_the_seed(tmp_path: Path) -> None:
    evaluation = TINY["evaluation"] | {"temperature": 1.0}
    made = plan(tmp_path, seeds=[0, 1], evaluation=evaluation)
    assert kinds(made)["evaluate"] == 2 * 3 + 4 * 5


def test_filters_of_one_policy_share_their_roll_outs(tmp_path: Path) -> None:
    methods = {
        name: {"objective": "grpo", "filter": name} for name in ("rif", "rif_strict", "random_matched")
    }
    made = plan(tmp_path, methods=methods)
    # All three start from the base, so the first stage's roll-outs are shared.
    assert kinds(made) == {"filter": 1 + 3, "learn": 6, "evaluate": 3 + 3 * 5}
    assert len({chain.filters[0] for chain in made.chains}) == 1


def test_joint_is_one_stage_over_all_tasks(tmp_path: Path) -> None:
    made = plan(tmp_path, methods={"joint": {"objective": "sft", "joint": True}})
    (chain,) = made.chains
    (job,) = [made.jobs[name] for name in chain.learn]
    assert job.tasks == ("reading", "counting")
    assert job.inputs["iterations"] == 2 * TINY["defaults"]["iterations"]
    assert set(chain.cells) == {(s, t) for s in (0, 1) for t in ("reading", "counting", "presence")}


def test_iterations_may_differ_by_task(tmp_path: Path) -> None:
    methods = {"s": {"objective": "sft"}, "j": {"objective": "sft", "joint": True}}
    by_task = {"reading": 2, "counting": 6, "tissue": 9}  # tissue is not in the sequence
    made = plan(tmp_path, methods=methods, **with_defaults(iterations=by_task))
    alone, joint = ([made.jobs[name].inputs for name in chain.learn] for chain in made.chains)
    assert [inputs["iterations"] for inputs in (*alone, *joint)] == [2, 6, 8]
    # The same number is the same work, however it is written; another task's number does not matter.
    plain = plan(tmp_path, methods=methods)
    assert made.chains[0].learn[0] == plain.chains[0].learn[0]
    assert made.chains[0].learn[1] != plain.chains[0].learn[1]


def test_settings_count_where_they_are_used(tmp_path: Path) -> None:
    base = plan(tmp_path)
    assert plan(tmp_path, **with_defaults(dual_clip=None)).digest() == base.digest()
    clipped = plan(tmp_path, **with_defaults(dual_clip=3.0))
    assert clipped.chains[0].learn == base.chains[0].learn  # SFT
    assert clipped.chains[1].learn != base.chains[1].learn
    filtered = {"r": {"objective": "grpo", "filter": "rif"}}
    shorter = {"r": filtered["r"] | {"filter_shortens": True}}
    long, short = (plan(tmp_path, methods=methods) for methods in (filtered, shorter))
    assert long.chains[0].filters[0] == short.chains[0].filters[0]
    assert long.chains[0].learn != short.chains[0].learn
    methods = {"r": filtered["r"], "grpo": {"objective": "grpo"}}
    mixed = plan(tmp_path, methods=methods, **with_defaults(filter_shortens=True))
    assert [chain.learn for chain in mixed.chains] == [short.chains[0].learn, base.chains[1].learn]


def test_the_state_of_the_optimiser_counts_for_weights_in_bfloat16(tmp_path: Path) -> None:
    def inputs(**model: Any) -> dict[str, Any]:
        made = plan(tmp_path, model=model)
        return made.jobs[made.chains[0].learn[0]].inputs

    assert inputs(dtype="bfloat16")["optimizer_state"] == "float32"
    assert "optimizer_state" not in inputs(dtype="float32")
    assert "optimizer_state" not in inputs(dtype="bfloat16", lora={"rank": 4})
    compact = with_defaults(optimizer_state="compact") | {"model": {"dtype": "bfloat16"}}
    plain = plan(tmp_path, model={"dtype": "bfloat16"})
    for one, other in zip(plan(tmp_path, **compact).chains, plain.chains, strict=True):
        assert set(one.learn).isdisjoint(other.learn)


def test_what_determines_a_stage_has_not_grown() -> None:
    """A key more would make every stored result another one; see `_LATER` in methods/method.py."""
    settings = make_method(objective="grpo", learning_rate=1e-3).determining(("reading",))
    assert {"filter_shortens", "dual_clip"}.isdisjoint(settings)
    assert len(settings) == 18


@pytest.mark.slow
def test_a_filter_may_shorten_a_stage(tmp_path: Path) -> None:
    """As many passes over what is kept as there would have been over everything."""
    method = {"objective": "grpo", "filter": "random_matched", "filter_shortens": True, "iterations": 8}
    experiment = make_experiment(tmp_path, methods={"r": method}, sequence=["reading"], general=[])
    assert not run_here(experiment).failed
    made = make_plan(experiment)
    folder = Store(experiment.store).folder(made.jobs[made.chains[0].learn[0]])
    result = json.loads((folder / "result.json").read_text())
    assert 0 < result["kept"] < result["available"] == 16
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == max(1, 8 * result["kept"] // 16)


def test_every_stage_on_the_general_benchmarks_if_asked(tmp_path: Path) -> None:
    made = plan(tmp_path, general_every_stage=True)
    assert all((1, "presence") in chain.cells for chain in made.chains)


def test_the_other_style_if_asked(tmp_path: Path) -> None:
    made = plan(tmp_path, evaluation=TINY["evaluation"] | {"other_style": True})
    chain = made.chains[0]
    assert set(chain.other_cells) == set(chain.cells)
    assert {made.jobs[name].style for name in chain.other_cells.values()} == {"direct"}


def test_a_change_changes_what_it_determines_and_nothing_else(tmp_path: Path) -> None:
    base = plan(tmp_path)

    def new(**changes: Any) -> Counter[str]:
        jobs = plan(tmp_path, **changes).jobs
        return Counter(job.kind for name, job in jobs.items() if name not in base.jobs)

    everything = kinds(base)
    # A setting of one method concerns its chain only.
    methods = {"sft": {"objective": "sft"}, "grpo": {"objective": "grpo", "learning_rate": 1e-4}}
    assert new(methods=methods) == {"learn": 2, "evaluate": 5}
    # RFT settings in the defaults do not touch SFT, nor do names, order or places.
    assert new(**with_defaults(group_size=4)) == {"learn": 2, "evaluate": 5}
    assert new(name="other", methods=dict(reversed(TINY["methods"].items()))) == {}
    assert new(checkpoint_every=1, keep_weights="all") == {}
    # One more task at the end leaves the earlier stages alone.
    assert new(sequence=["reading", "counting", "tissue"]) == {"learn": 2, "evaluate": 1 + 2 * (1 + 1 + 4)}
    assert new(general=["presence", "facts"]) == {"evaluate": 3}
    # What concerns all of it.
    assert new(test_examples=9) == {"evaluate": everything["evaluate"]}
    assert new(train_examples=17) == everything - Counter(evaluate=3)
    assert new(threads=2) == everything
    assert new(model={"max_pixels": 4096}) == everything
    assert new(seeds=[1]) == everything - Counter(evaluate=3)


def test_fingerprints_are_the_same_in_every_process(tmp_path: Path) -> None:
    assert plan(tmp_path).digest() == plan(tmp_path / "elsewhere").digest()


def test_a_gpu_makes_other_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    here, named = plan(tmp_path).digest(), plan(tmp_path, model={"device": "cuda"}).digest()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert here != plan(tmp_path).digest() == named


def test_time_is_estimated(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path)
    made = make_plan(experiment)
    guess = sum(estimate.seconds(job, {}) for job in made.jobs.values())
    slower = sum(estimate.seconds(job, {"sft": 1.0, "rft": 1.0}) for job in made.jobs.values())
    assert 0 < guess < slower


@pytest.mark.slow
def test_earlier_results_of_the_same_model_tell_the_time(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, methods={"sft": {"objective": "sft"}}, sequence=["reading"])
    made, store = make_plan(experiment), Store(experiment.store)
    assert estimate.measured(store, made) == {}
    assert not run_here(experiment).failed
    assert set(estimate.measured(store, made)) == {"sft", "evaluate"}
    other = plan(tmp_path, model={"path": "Qwen/Qwen2.5-VL-7B-Instruct"})
    assert estimate.measured(store, other) == {}
