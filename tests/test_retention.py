"""Strategies against forgetting: what they do to batches and gradients, and across a kill."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from experiment_helpers import make_experiment, run_here
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.learning.loop import learn
from holdfast.learning.retention import Strategy
from holdfast.learning.retention.er import ExperienceReplay
from holdfast.learning.retention.ewc import OnlineEWC
from holdfast.learning.retention.l2 import L2
from holdfast.learning.schedule import learning_rate
from holdfast.learning.step import step
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from test_learning import items_of, sft, stage_of, train, weights

NEW, OLD = items_of("photos", 16), {"reading": items_of("reading", 8), "counting": items_of("counting", 3)}


def replaying(earlier: Any = OLD, updates: int = 1) -> Any:
    return SimpleNamespace(earlier=earlier, stream=("stage",), method=sft(batch=16, updates=updates))


def batch_of(strategy: ExperienceReplay, iteration: int = 0, **changes: Any) -> list[str]:
    stage = replaying(**changes)
    return [task.name for task, _ in strategy.batch(stage, {}, NEW, iteration)]


def test_replay_gives_its_share_to_all_earlier_tasks_alike() -> None:
    names = batch_of(ExperienceReplay(share=0.25))
    assert names[:12] == ["photos"] * 12
    assert sorted(names[12:]) == ["counting", "counting", "reading", "reading"]
    assert len(batch_of(ExperienceReplay(share=0.01))) == 16  # at least one, and no more than the batch
    assert batch_of(ExperienceReplay(share=0.01)).count("photos") == 15
    assert batch_of(ExperienceReplay(), earlier={}) == ["photos"] * 16  # in the first stage


def test_replay_draws_each_example_once_and_others_every_time() -> None:
    stage, strategy = replaying(), ExperienceReplay(share=0.5)
    drawn = [
        [example.id for task, example in strategy.batch(stage, {}, NEW, iteration) if task.name == "reading"]
        for iteration in range(6)
    ]
    assert all(len(set(ids)) == len(ids) == 4 for ids in drawn)
    assert len({tuple(ids) for ids in drawn}) > 1
    again = strategy.batch(stage, {}, NEW, 3)
    assert [example.id for _, example in again if example.id in drawn[3]] == drawn[3]
    few = ExperienceReplay(share=0.5, per_task=1)
    kept = {example.id for task, example in few.batch(stage, {}, NEW, 0) if task.name != "photos"}
    assert kept == {OLD["reading"][0][1].id, OLD["counting"][0][1].id}


def test_the_control_of_replay_repeats_new_examples() -> None:
    assert batch_of(ExperienceReplay(share=0.25, padding_control=True)) == ["photos"] * 16


def test_each_update_of_a_batch_has_its_share_of_replay() -> None:
    """One of four old examples in each of four updates; at the batch's end they would be one of their own."""
    names = batch_of(ExperienceReplay(share=0.25), updates=4)
    assert [4 - names[start : start + 4].count("photos") for start in (0, 4, 8, 12)] == [1, 1, 1, 1]
    padded = ExperienceReplay(share=0.25, padding_control=True).batch(replaying(updates=4), {}, NEW, 0)
    for update in range(4):
        part = padded[4 * update : 4 * update + 4]
        assert all(item in part for item in NEW[3 * update : 3 * update + 3]), "and one more of the 12"
        assert all(item in NEW[:12] for item in part)


@pytest.mark.parametrize(("size", "updates", "steps"), [(1, 2, 1), (3, 2, 2), (6, 4, 3)])
def test_a_batch_of_another_size_has_no_more_steps_than_updates(
    size: int, updates: int, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It failed where there were fewer examples than updates, and ran on past the learning rates' end."""

    class Resized(Strategy):
        kind: str = "resized"

        def batch(self, stage: Any, memory: Any, items: Any, iteration: int) -> Any:
            return NEW[:size]

    rates: list[float] = []

    def counted(*given: Any) -> dict[str, float]:
        rates.append(given[5])
        return step(*given)

    monkeypatch.setattr("holdfast.learning.loop.step", counted)
    method = sft(batch=4, updates=updates, schedule="cosine").model_copy(update={"retention": (Resized(),)})
    policy = Policy.load("embedded", ModelSettings())
    train(policy, method, tmp_path, 1, NEW)
    assert rates == [learning_rate(method, number, updates) for number in range(steps)]


def test_the_pull_of_ewc_by_hand() -> None:
    """λ F (θ − θ*) added to the gradient, and its share of the whole."""
    policy = SimpleNamespace(model=torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)))
    stage = SimpleNamespace(policy=policy)
    count = sum(parameter.numel() for parameter in policy.model.parameters())
    before = torch.cat([parameter.detach().flatten() for parameter in policy.model.parameters()])
    fisher, anchor = torch.rand(count), before - torch.linspace(-1, 1, count)
    for parameter in list(policy.model.parameters())[:-1]:
        parameter.grad = torch.full_like(parameter, 0.5)  # the last has none
    memory = {"fisher": fisher, "anchor": anchor}
    said = OnlineEWC(strength=3.0).gradient(stage, memory, None)  # type: ignore[arg-type]
    found = torch.cat([parameter.grad.flatten() for parameter in policy.model.parameters()])
    pull = 3.0 * fisher * torch.linspace(-1, 1, count)
    expected = pull + torch.cat([torch.full((count - 1,), 0.5), torch.zeros(1)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert said["ewc_share"] == pytest.approx(float(pull.norm() / expected.norm()), rel=1e-5)
    assert OnlineEWC(strength=1.0).gradient(stage, {}, None) == {}  # type: ignore[arg-type]


def test_the_pull_of_l2_by_hand() -> None:
    """λ (θ − θ*) from the weights the stage began with, or the base's, which go from stage to stage."""
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    policy = SimpleNamespace(model=model, device=torch.device("cpu"))
    first, second = (SimpleNamespace(policy=policy, inherited={}) for _ in range(2))
    for to, away in (("stage_start", 2.0), ("base", 3.0)):
        with torch.no_grad():
            [one.fill_(1.0) for one in model.parameters()]
        strategy, memory = L2(strength=0.5, to=to), {}  # type: ignore[arg-type,var-annotated]
        strategy.begin(first, memory)  # type: ignore[arg-type]
        with torch.no_grad():
            [one.fill_(2.0) for one in model.parameters()]
        second.inherited = {"l2": left} if (left := strategy.end(first, memory)) else {}  # type: ignore[arg-type]
        memory = {}
        strategy.begin(second, memory)  # type: ignore[arg-type]
        with torch.no_grad():
            [one.fill_(4.0) for one in model.parameters()]
        for one in model.parameters():
            one.grad = torch.zeros_like(one)
        said = strategy.gradient(second, memory, None)  # type: ignore[arg-type]
        assert [one.grad.item() for one in model.parameters()] == [0.5 * away] * 4  # type: ignore[union-attr]
        assert said == {"l2_share": pytest.approx(1.0)}


@pytest.mark.slow
def test_a_strong_pull_holds_the_weights_and_is_kept_across_a_kill(tmp_path: Path) -> None:
    policy = Policy.load("embedded", ModelSettings())
    items = items_of("photos", 16)
    first = sft(retention={"kind": "ewc", "strength": 1.0, "examples": 4, "max_tokens": 8})
    _, left = learn(
        stage_of(policy, first, items, 1), folder=tmp_path / "first", checkpoint_every=9, on_step=lambda *_: 0
    )
    fisher = left["ewc"]["fisher"]
    assert fisher.shape == (sum(one.numel() for one in policy.model.parameters()),)
    assert (fisher >= 0).all() and fisher.sum() > 0

    def moved(
        strength: float, folder: Path, die_at: int | None = None
    ) -> tuple[float, dict[str, torch.Tensor]]:
        method = sft(retention={"kind": "ewc", "strength": strength, "examples": 4, "max_tokens": 8})
        policy = Policy.load("embedded", ModelSettings())
        start = weights(policy)

        def on_step(done: int, total: int, row: Any) -> None:
            if done == die_at:
                raise KeyboardInterrupt

        stage = stage_of(policy, method, items, 4, inherited=left)
        learn(stage, folder=folder, checkpoint_every=2, on_step=on_step)
        after = weights(policy)
        names = [name for name, _ in policy.model.named_parameters()]
        importance = dict(zip(names, split(fisher, policy), strict=True))
        return sum(float((importance[n] * (after[n] - start[n]) ** 2).sum()) for n in importance), after

    def split(flat: torch.Tensor, policy: Policy) -> list[torch.Tensor]:
        sizes = [one.shape for one in policy.model.parameters()]
        parts = flat.split([size.numel() for size in sizes])
        return [part.view(size) for part, size in zip(parts, sizes, strict=True)]

    loose, _ = moved(1e-9, tmp_path / "loose")
    tight, whole = moved(1e6, tmp_path / "tight")
    assert tight < 0.7 * loose
    with pytest.raises(KeyboardInterrupt):
        moved(1e6, tmp_path / "killed", die_at=3)
    _, resumed = moved(1e6, tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_strategies_through_plan_and_store(tmp_path: Path) -> None:
    """Fingerprints of methods without one stay; what is left lies beside the weights, and goes with them."""
    ewc = {"kind": "ewc", "strength": 10.0, "examples": 2, "max_tokens": 8}
    methods = {
        "plain": {"objective": "sft", "iterations": 1},
        "both": {"objective": "sft", "iterations": 1, "retention": [{"kind": "er", "share": 0.5}, ewc]},
    }
    experiment = make_experiment(tmp_path, methods=methods, general=[], keep_weights="all")
    alone = make_plan(make_experiment(tmp_path, methods={"plain": methods["plain"]}, general=[]))
    plan, store = make_plan(experiment), Store(experiment.store)
    assert plan.chains[0].learn == alone.chains[0].learn
    assert set(plan.chains[0].learn).isdisjoint(plan.chains[1].learn)
    assert not run_here(experiment).failed
    left = store.weights(plan.jobs[plan.chains[1].learn[0]]) / "retention"
    assert [path.name for path in left.iterdir()] == ["ewc.safetensors"]
    (row,) = store.rows(plan.jobs[plan.chains[1].learn[1]], "metrics.jsonl")
    assert 0 <= row["ewc_share"] <= 1


def test_training_without_strategies_is_what_it_was(tmp_path: Path) -> None:
    """An empty list of strategies changes no bit."""
    results = []
    for name, changes in (("one", {}), ("two", {"retention": []})):
        policy = Policy.load("embedded", ModelSettings())
        train(policy, sft(**changes), tmp_path / name, 2, items_of("photos", 16))
        results.append(weights(policy))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
