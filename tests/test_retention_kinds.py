"""Every kind of strategy that looks at weights and data alone: two stages, a kill in between, the store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from experiment_helpers import learn_here, make_experiment, run_here
from holdfast.errors import InputError
from holdfast.experiment.plan import make_plan
from holdfast.files import read_jsonl
from holdfast.generate.rollouts import Item, Rollouts
from holdfast.learning import policygradient
from holdfast.learning.loop import learn
from holdfast.learning.methods import make_method
from holdfast.learning.policygradient import PolicyGradient
from holdfast.learning.retention import KINDS, strategy_class
from holdfast.learning.retention.passes import objective_gradient
from holdfast.policy.gradients import flat, trained_matrices, trained_parameters
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from holdfast.tasks.prompts import TEMPLATES
from test_learning import grpo, items_of, sft, stage_of, weights
from test_replay_strategies import EVERY

FEW = {"examples": 2, "max_tokens": 8}
NEEDED: dict[str, dict[str, Any]] = {  # settings without a default, and small ones
    "ewc": {"strength": 10.0} | FEW,
    "ewc_sum": {"strength": 10.0} | FEW,
    "fisher_merge": FEW,
    "gpm": FEW,
    "l2": {"strength": 0.1},
    "mas": {"strength": 1.0} | FEW,
    "ogd": {"directions": 3, "max_tokens": 8},
    "olora": {"rank": 2},
    "reglora": {"strength": 1.0},
    "rwalk": {"strength": 1.0},
    "si": {"strength": 1.0},
    "ssu": FEW,
}
# Those that leave something to the next stage.
LEAVES = {
    "cpo",
    "dare",
    "ewc",
    "ewc_sum",
    "fisher_merge",
    "gpm",
    "keeplora",
    "magmax",
    "mas",
    "ogd",
    "olora",
    "reglora",
}
LEAVES |= {"rwalk", "si", "ties"}
STEPPING = (
    "mofo",
    "ogd",
    "osft",
    "rwalk",
    "si",
)  # they look at the weights after each step, as the optimiser keeps them
# Others are tested alike in test_replay_strategies.py: they need grades, or keep what a stage says.
TESTED_THERE = {settings.get("kind", case) for case, (_, settings) in EVERY.items()}
KNOWN = sorted(KINDS.keys() - TESTED_THERE)


def settings_of(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind} | NEEDED.get(kind, {}) | more


def model_of(kind: str, **more: Any) -> ModelSettings:
    if strategy_class(kind).adapters:
        pytest.importorskip("peft")
        return ModelSettings(path="embedded", lora={"rank": 4, "alpha": 8})  # type: ignore[arg-type]
    return ModelSettings(**more)


def stage(
    policy: Policy, kind: str, folder: Path, number: int, left: Mapping[str, Any], killed: Path | None = None
) -> tuple[dict[str, float], dict[str, Any]]:
    """A stage of three steps; the second one has an earlier task.

    Args:
        killed: is given what lies on the disk at the third step, as a kill would leave it.
    """

    def on_step(done: int, total: int, row: Any) -> None:
        if killed is not None and done == 3:
            shutil.copytree(folder, killed)

    earlier = {"photos": items_of("photos", 4)} if number else {}
    items = items_of("reading" if number else "photos", 4)
    names = {"stream": ("stage", number), "inherited": left, "earlier": earlier}
    made = stage_of(policy, sft(batch=2, retention=settings_of(kind)), items, 3, **names)
    return learn(made, folder=folder, checkpoint_every=2, on_step=on_step)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "dtype"), [(kind, "float32") for kind in KNOWN] + [(kind, "bfloat16") for kind in STEPPING]
)
def test_two_stages_and_a_kill_give_the_same_bits(
    kind: str, dtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first needs nothing; the second goes on from what it left, and after a kill to the same bits."""
    model = model_of(kind, dtype=dtype)
    policy = Policy.load("embedded", model)
    _, left = stage(policy, kind, tmp_path / "first", 0, {})
    assert left.keys() == ({kind} & LEAVES)
    first = weights(policy)

    def second(folder: Path, killed: Path | None = None) -> tuple[dict[str, torch.Tensor], Any]:
        policy = Policy.load("embedded", model)
        policy.model.load_state_dict(first)
        totals, again = stage(policy, kind, folder, 1, left, killed)
        return weights(policy), (totals["flops"], again)

    folders = tmp_path / "whole" / "work", tmp_path / "killed" / "work"
    whole, (flops, more) = second(*folders)
    resumed, (flops_again, more_again) = second(folders[1])
    assert not caplog.messages  # the checkpoint was taken up
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], first[name]) for name in whole)
    assert flops == flops_again and more.keys() == more_again.keys()
    for name, tensors in more.items():
        assert all(torch.equal(tensor, more_again[name][key]) for key, tensor in tensors.items())
    rows = [read_jsonl(folder / "metrics.jsonl") for folder in folders]
    shares = [[{key: row[key] for key in row if key.endswith("_share")} for row in log] for log in rows]
    assert shares[0] == shares[1]
    assert all(0 <= share <= 1 for row in shares[0] for share in row.values())


@pytest.mark.slow
def test_kinds_through_plan_and_store(tmp_path: Path) -> None:
    """Two stages of each, of reinforcement; what is left lies beside the first one's weights."""
    kinds = [kind for kind in KNOWN if not strategy_class(kind).adapters]
    few = {"iterations": 1, "batch": 2, "group_size": 2, "learning_rate": 1e-3, "sampling": {"max_tokens": 8}}
    experiment = make_experiment(
        tmp_path,
        train_examples=4,
        test_examples=2,
        evaluation={"max_tokens": 4, "batch": 2},
        defaults=few,
        methods={kind: {"objective": "grpo", "retention": settings_of(kind)} for kind in kinds},
        general=[],
        keep_weights="all",
    )
    plan, store = learn_here(experiment)
    for kind, chain in zip(kinds, plan.chains, strict=True):
        left = store.weights(plan.jobs[chain.learn[0]]) / "retention"
        assert left.exists() == (kind in LEAVES), kind
        (row,) = store.rows(plan.jobs[chain.learn[1]], "metrics.jsonl")
        assert row["skipped"] == 0, kind


def test_calibration_hears_every_matrix() -> None:
    """Inputs are listened to at the layers themselves, so the pass must call them."""
    policy = Policy.load("embedded", ModelSettings())
    strategy: Any = strategy_class("ssu").model_validate({"kind": "ssu"} | FEW)
    made = stage_of(policy, sft(), items_of("photos", 4), 1)
    squares = strategy.activations(made)
    assert squares.keys() == trained_matrices(policy.model).keys() and len(squares) == 40
    assert all(one.max() > 0 for one in squares.values())
    assert made.spent["flops"] > 0
    assert not any(module._forward_pre_hooks for module in policy.model.modules())


@pytest.mark.slow
def test_adapters_of_all_tasks_through_plan_and_store(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    methods = {"sft": {"objective": "sft", "iterations": 1, "retention": settings_of("olora")}}
    model = {"path": "embedded", "lora": {"rank": 4, "alpha": 8}}
    experiment = make_experiment(tmp_path, methods=methods, general=[], model=model)
    assert not run_here(experiment).failed
    small = {"path": "embedded", "lora": {"rank": 3, "alpha": 8}}
    with pytest.raises(InputError, match=r"olora needs model\.lora\.rank 4 for 2 stages, not 3"):
        make_experiment(tmp_path, methods=methods, general=[], model=small)


@pytest.mark.parametrize("kind", [kind for kind in KNOWN if strategy_class(kind).adapters is not None])
def test_strategies_that_do_not_go_with_the_model_are_refused(kind: str, tmp_path: Path) -> None:
    needs = strategy_class(kind).adapters
    model = {"path": "embedded"} | ({} if needs else {"lora": {"rank": 4, "alpha": 8}})
    methods = {"sft": {"objective": "sft", "retention": settings_of(kind)}}
    with pytest.raises(InputError, match=f"{kind} is for {'LoRA' if needs else 'whole weights'}"):
        make_experiment(tmp_path, methods=methods, general=[], model=model)


@pytest.mark.slow
def test_reinforcement_projects_on_answers_given_anew(tmp_path: Path) -> None:
    """Sampling old prompts and learning from them is counted."""
    flops = []
    for retention in (None, {"kind": "agem"}, {"kind": "gem"}):
        policy = Policy.load("embedded", ModelSettings())
        method = grpo(retention=retention, kl_coef=0.1, updates=2)
        earlier = {"facts": items_of("facts", 4), "reading": items_of("reading", 4)}
        made = stage_of(policy, method, items_of("photos", 8), 2, earlier=earlier)
        totals, _ = learn(
            made, folder=tmp_path / str(len(flops)), checkpoint_every=9, on_step=lambda *_: None
        )
        flops.append(totals["flops"])
    assert flops[1] > 1.5 * flops[0] and flops[2] == pytest.approx(flops[1], rel=0.2)  # of all tasks alike
    assert all(0 <= row["agem_share"] <= 1 for row in read_jsonl(tmp_path / "1" / "metrics.jsonl"))
    assert all(row["gem_share"] >= 0 for row in read_jsonl(tmp_path / "2" / "metrics.jsonl"))


def test_what_is_projected_on_is_averaged_as_a_step_is() -> None:
    """−Σ A_i mean_t ∇ log p over N completions under `loss_mean: sequences`, and not a mean over tokens."""
    policy, items = Policy.load("embedded", ModelSettings()), items_of("counting", 4)
    found = {}
    for mean in ("tokens", "sequences"):
        method = grpo(loss_mean=mean, normalise_std=False)
        found[mean] = objective_gradient(stage_of(policy, method, items, 1), items, ("drawn",))
    groups = PolicyGradient(method, TEMPLATES["embedded"], None).collect(policy, items, ("drawn",))
    lengths_BG = groups.completions.lengths_BG
    logprobs_BG = policy.group_logprobs(groups.prompts, groups.completions).logprobs_BGR.sum(-1)
    for mean, loss in (
        ("tokens", -(groups.advantages_BG * logprobs_BG).sum() / lengths_BG.sum()),
        ("sequences", -(groups.advantages_BG * logprobs_BG / lengths_BG).mean()),
    ):
        expected = flat(loss, trained_parameters(policy), keep=True)
        assert expected.norm() > 0.1
        torch.testing.assert_close(found[mean], expected, rtol=1e-3, atol=1e-5)
    assert (found["tokens"] - found["sequences"]).norm() > 0.05 * found["tokens"].norm()


def test_what_is_projected_on_is_asked_of_old_prompts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refills are of the stage's own task: in their place stand fewer prompts."""
    asked: list[str] = []
    real = policygradient.roll_out

    def noted(policy: Policy, items: Sequence[Item], *rest: Any, **named: Any) -> Rollouts:
        asked.extend(task.name for task, _ in items)
        rollouts = real(policy, items, *rest, **named)
        rollouts.rewards_BG[1:] = 1.0  # all but one prompt are always right
        return rollouts

    monkeypatch.setattr(policygradient, "roll_out", noted)
    policy = Policy.load("embedded", ModelSettings())
    method = grpo(objective="dapo", group_size=4)
    stage = stage_of(policy, method, items_of("photos", 8), 1)
    for seed in range(5):  # until the rewards of the one differ
        if objective_gradient(stage, items_of("reading", 4), ("drawn", seed)) is not None:
            break
    else:
        pytest.fail("no prompt had both right and wrong answers")
    assert set(asked) == {"reading"}


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "sdft", "rho": 1.0, "rho_start": 0.2, "sampling": {"max_tokens": 16}},
        {"objective": "sft", "target": "sampled", "resample_every": 2, "sampling": {"max_tokens": 16}},
    ],
)
def test_what_is_projected_on_is_as_the_iteration_under_way_learns(settings: dict[str, Any]) -> None:
    """By its share of the teacher and its writer, which are others than at the stage's start."""
    policy = Policy.load("embedded", ModelSettings())
    method, items = make_method(learning_rate=1e-3, batch=4, **settings), items_of("reading", 4)
    stage = stage_of(policy, method, items, 4)
    objective = method.make(stage)
    with torch.no_grad():
        for number, weight in enumerate(trained_parameters(policy)):
            generator = torch.Generator().manual_seed(number)
            weight += 0.05 * weight.std().nan_to_num() * torch.randn(weight.shape, generator=generator)
    objective.begin(policy, 2)
    found = objective_gradient(replace(stage, objective=objective), items, ("drawn",))
    first = objective_gradient(stage, items, ("drawn",))
    groups = objective.collect(policy, items, ("drawn",))
    loss = objective.loss(policy, groups).loss / int(groups.completions.mask_BGR.sum())
    wanted = flat(loss, trained_parameters(policy))
    assert found is not None and first is not None
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)
    assert (found - first).norm() > 0.01 * wanted.norm()


def test_strategies_that_came_out_otherwise_before_are_other_jobs_only_there(tmp_path: Path) -> None:
    """The versions of strategies count where they are above one, and leave other stages' names alone."""

    def strategies(retention: Any, **changes: Any) -> list[Any]:
        methods = {"a": {"objective": "grpo", "group_size": 2, "retention": retention} | changes}
        made = make_plan(make_experiment(tmp_path, methods=methods, general=[]))
        return [made.jobs[name].inputs.get("strategies") for name in made.chains[0].learn]

    several = [{"kind": "agem"}, {"kind": "keeplora"}]
    assert strategies(several) == [None, None]
    assert strategies(several, loss_mean="sequences") == [{"agem": 2, "keeplora": 2}] * 2
    assert strategies(several, refills=2, drop_zero_variance=True) == [{"agem": 3, "keeplora": 3}] * 2
    assert strategies({"kind": "ties"}) == [{"ties": 2}] * 2
    assert strategies({"kind": "chord"}) == [None, None]
    assert strategies({"kind": "chord"}, drop_zero_variance=True) == [{"chord": 2}] * 2
    assert strategies({"kind": "er", "share": 0.5}) == [None, None]
    assert strategies({"kind": "er", "share": 0.5}, updates=2) == [{"er": 2}] * 2
    assert strategies({"kind": "kl_old", "share": 0.5}) == [None, None]
    assert strategies({"kind": "kl_old", "share": 0.5}, drop_zero_variance=True) == [{"kl_old": 2}] * 2
