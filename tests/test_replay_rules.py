"""Strategies by replay, of prompts and of answers: their rules worked by hand."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from holdfast.learning.groups import Groups
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.loop import learn
from holdfast.learning.retention import opr
from holdfast.learning.retention.answers import answers_of, as_groups, keep_answers, mismatch
from holdfast.learning.retention.cpr import CPR
from holdfast.learning.retention.forever import due
from holdfast.learning.retention.pool import keep_table, key_of, table
from holdfast.learning.retention.remind import Remind
from holdfast.policy.gradients import flat, trained_parameters
from holdfast.policy.policy import Policy
from holdfast.rng import seed
from holdfast.tasks.prompts import TEMPLATES
from replay_helpers import NEW, OLD, gradient, loaded, logprobs, made, nudge
from test_learning import grpo, sft, stage_of, weights


def graded(items: Any, scores: list[list[float]]) -> Groups:
    """Groups that say how often they were right, and no more."""
    return Groups(
        [0] * len(items),
        None,
        torch.zeros(len(items), 1),
        scores_BG=torch.tensor(scores, dtype=torch.float32),
        items=items,
    )  # type: ignore[arg-type]


def test_forever_replays_at_days_of_the_way_the_weights_go() -> None:
    """A day is the way of two steps, there and back: 2. Days 1 and 2 come at 2 and 4, day 4 at 8."""
    model = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    stage: Any = SimpleNamespace(
        policy=SimpleNamespace(model=model), earlier=OLD, stream=("s",), method=sft()
    )
    strategy, memory = made("forever", day=2, share=0.25), dict[str, torch.Tensor]()
    strategy.begin(stage, memory)
    old, days = [], []
    for iteration in range(9):
        batch = strategy.batch(stage, memory, NEW, iteration)
        assert len(batch) == 16
        old.append(sum(task.name != "photos" for task, _ in batch))
        with torch.no_grad():
            model.weight += 1 if iteration % 2 else -1
        days.append(strategy.stepped(stage, memory, optimizer).get("forever_days", 0))
    assert old == [0, 0, 4, 0, 4, 0, 0, 0, 4]
    assert days == [0, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5]
    assert [due(number) for number in range(8)] == [1, 2, 4, 7, 15, 30, 60, 120]
    first: dict[str, torch.Tensor] = {}
    alone: Any = SimpleNamespace(policy=stage.policy, earlier={})
    strategy.begin(alone, first)
    assert strategy.stepped(alone, first, optimizer) == {} == first


def test_cpr_takes_what_is_nearest_to_one_half_and_rested() -> None:
    pool = OLD["reading"]
    rates = [0.5, 0.25, 0.7, 0.8, 0.0, 0.6, 1.0, 0.23]  # the window is .24 to .70
    last = [9, 0, 0, 1, 3, 0, 2, 0]  # at update 10, of which 9 is too near
    stage: Any = SimpleNamespace(earlier={"reading": pool}, stream=("s",), items=NEW, inherited={})

    def replayed(**settings: Any) -> list[int]:
        memory = {"clock": torch.tensor(10)}
        keep_table(memory, "prompts", {key_of(pool[i]): [rates[i], last[i]] for i in range(8)})
        batch = CPR(**settings).batch(stage, memory, NEW, 0)
        assert len(batch) == 16
        return sorted(pool.index(item) for item in batch if item[0].name == "reading")

    assert replayed() == [1, 2, 5]
    assert replayed(share=0.07) == [5]
    assert replayed(cooldown=0) == [0, 1, 2, 5]
    assert replayed(cooldown=9) == [1, 2, 5] and replayed(cooldown=10) == []  # the last 10 are 0 to 9
    assert replayed(share=0.25, retest=0.25) == [1, 2, 5, 7]

    strategy, memory = CPR(), {"clock": torch.tensor(11)}
    said = strategy.collected(stage, memory, graded((pool[0], NEW[0]), [[1, 0, 0, 0], [1, 1, 1, 0]]))
    assert table(memory, "prompts") == {key_of(pool[0]): [0.25, 10], key_of(NEW[0]): [0.75, 10]}
    assert said.stats["cpr_share"] == 0.5
    with pytest.raises(ValidationError, match="must not be above most"):
        CPR(least=0.9)


def test_remind_reviews_what_was_mastered_twice_at_growing_distance() -> None:
    strategy, row = Remind(), [0.0, 0.0, 0.0]
    seen = []
    for now, rate in enumerate([1.0, 7 / 8, 1.0, 13 / 16, 0.9, *[1.0] * 6]):
        row = strategy.after(row, rate, now)
        seen.append(row[1])
        assert row[2] == now + row[1]
    assert seen == [0, 4, 8, 4, 8, 16, 32, 64, 64, 64, 64]
    stage: Any = SimpleNamespace(earlier=OLD, stream=("s",), items=NEW, inherited={})
    memory = {"clock": torch.tensor(7)}
    keep_table(
        memory,
        "prompts",
        {
            key_of(OLD["reading"][0]): [2, 4, 7],
            key_of(OLD["counting"][1]): [3, 8, 3],
            key_of(NEW[3]): [2, 4, 8],  # not yet
            key_of(NEW[4]): [1, 0, 1],  # not mastered
        },
    )
    batch = strategy.batch(stage, memory, NEW, 0)
    assert [item for item in batch if item[0].name != "photos"] == [OLD["counting"][1], OLD["reading"][0]]
    assert float(memory["reviewed"]) == 2 / 16


def test_der_matches_what_was_said_before() -> None:
    """mse: the mean over k; kl: over k entries and the rest, here ½, ¼ and ¼ against ¼, ¼ and ½."""
    then, now = torch.tensor([[0.5, 0.25]]).log(), torch.tensor([[0.25, 0.25]]).log()
    assert mismatch(then, now, "mse").item() == pytest.approx(math.log(2) ** 2 / 2)
    assert mismatch(then, now, "kl").item() == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))


def test_der_keeps_its_moment_and_pulls_back_to_it() -> None:
    """Nothing to match at once; then its gradient is that of the formula, worked with all entries."""
    policy = loaded()
    strategy = made("der", alpha=1.0, beta=0.0, buffer=4, entries=5, replayed=9)
    stage = stage_of(policy, sft(), OLD["reading"], 1)
    memory: dict[str, torch.Tensor] = {}
    collect = Likelihood(sft(), TEMPLATES["embedded"]).collect
    groups = collect(policy, OLD["reading"], ())
    strategy.collected(stage, memory, groups)
    kept = answers_of(memory)
    assert len(kept["keys"]) == 4 and int(memory["seen"]) == 8
    assert kept["ids"].shape[2] == 5 and (kept["logprobs"][kept["mask"]][:, 0] > -3).any()
    assert strategy.gradient(stage, memory, groups) == {}  # not in the stage itself

    later = stage_of(policy, sft(), NEW, 1, earlier=OLD, inherited={"der": memory})
    policy.model.zero_grad()
    strategy.gradient(later, dict(memory), groups)
    assert all(one.grad is None or one.grad.abs().max() < 1e-5 for one in policy.model.parameters())
    nudge(policy)
    policy.model.zero_grad()
    assert strategy.gradient(later, dict(memory), groups)["der_share"] == pytest.approx(1.0, abs=1e-3)
    own = as_groups(later, kept)
    all_TV = policy.distributions(own.prompts, own.completions)
    picked = all_TV.gather(1, kept["ids"][kept["mask"]])
    wanted = flat((picked - kept["logprobs"][kept["mask"]]).square().mean(), trained_parameters(policy))
    torch.testing.assert_close(gradient(policy), wanted, rtol=1e-3, atol=1e-6)


def test_der_lets_each_example_in_with_the_same_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.learning.retention.der.with_entries", lambda stage, answers, k: answers)
    groups = Likelihood(sft(), TEMPLATES["embedded"]).collect(loaded(), OLD["reading"][:3], ())
    strategy, held = made("der", buffer=1), Counter[int]()
    for number in range(600):
        stage: Any = SimpleNamespace(stream=("s", number))
        strategy.collected(stage, memory := {}, groups)
        held[int(answers_of(memory)["keys"])] += 1
    assert len(held) == 3 and all(160 < count < 240 for count in held.values())


def test_opr_learns_the_right_answers_of_all_tasks_at_the_weight_of_the_batch() -> None:
    policy = loaded()
    strategy = made("opr", buffer=12, temperature=1.0, max_tokens=16)
    stage = stage_of(policy, sft(), NEW, 1, earlier=OLD)
    left = strategy.end(stage, {})
    kept = answers_of(left)
    groups = as_groups(stage, kept)
    assert all(sum(item[0].name == name for item in groups.items) <= 4 for name in ("photos", *OLD))  # 12 / 3
    texts = policy.decode(groups.completions)
    assert all(example.answer in text[0] for (_, example), text in zip(groups.items, texts, strict=True))
    assert stage.spent["flops"] > 0

    due = 8 * len(kept["keys"]) // 16  # of the first batch of 8, M answers for 16 examples
    batch = Likelihood(sft(), TEMPLATES["embedded"]).collect(policy, NEW[:8], ())
    policy.model.zero_grad()
    all_at_once = made("opr", buffer=12)
    memory = {**left}
    assert all_at_once.gradient(stage, memory, batch)["opr_share"] == pytest.approx(1.0, abs=1e-3)
    one_by_one = [
        flat(
            -logprobs(policy, groups.rows([row])).sum() / batch.completions.mask_BGR.sum(),
            trained_parameters(policy),
        )
        for row in range(len(groups.items))
    ]
    chosen = torch.linalg.lstsq(torch.stack(one_by_one, 1), gradient(policy)[:, None]).solution.flatten()
    assert sorted(chosen.round(decimals=2).abs().tolist()) == [0.0] * (len(one_by_one) - due) + [1.0] * due


def test_opr_has_as_many_answers_as_are_kept_in_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 for 16 examples in 4 steps of 4: 1, 1, 1, 2; 1 for 16: 0, 0, 0, 1."""
    drawn: list[int] = []

    def noted(stage: Any, groups: Groups, loss: Any) -> torch.Tensor:
        drawn.append(len(groups.items))
        return torch.zeros(())

    monkeypatch.setattr(opr, "gradient_of", noted)
    monkeypatch.setattr(opr, "as_groups", lambda stage, some: graded([()] * len(some["keys"]), [[1.0]]))
    monkeypatch.setattr(opr, "add_to_gradient", lambda policy, term: 0.5)
    step = Groups([0] * 4, SimpleNamespace(mask_BGR=torch.ones(4, 1, 2)), torch.ones(4, 1))  # type: ignore[arg-type]
    stage: Any = SimpleNamespace(items=NEW, stream=("s",), policy=None)
    for kept, expected in ((5, [1, 1, 1, 2]), (1, [1])):
        drawn.clear()
        memory = dict[str, torch.Tensor]()
        keep_answers(memory, {"keys": torch.arange(kept), "mask": torch.ones(kept, 2, dtype=torch.bool)})
        shares = [made("opr").gradient(stage, memory, step)["opr_share"] for _ in range(4)]
        assert drawn == expected and sum(share > 0 for share in shares) == len(expected)


def guarded(policy: Policy, **settings: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """The guard, and what it holds after a stage on each of the old tasks, of which all answers are right."""
    strategy, left = made("holdfast", **settings), {}
    for task, items in OLD.items():
        stage = stage_of(policy, sft(), items, 1, earlier=OLD, inherited={"holdfast": left}, stream=(task,))
        memory: dict[str, torch.Tensor] = {}
        strategy.begin(stage, memory)
        strategy.collected(stage, memory, Likelihood(sft(), TEMPLATES["embedded"]).collect(policy, items, ()))
        left = strategy.end(stage, memory)
    return strategy, left


def test_the_guard_pulls_to_what_was_said_and_nowhere_before_it_has_changed() -> None:
    """Its gradient is that of c · KL(z ‖ π), worked for all answers at once."""
    policy = loaded()
    strategy, left = guarded(policy, answers=1, coef=0.7, entries=5)
    kept = answers_of(left)
    assert len(kept["keys"]) == 16 and kept["ids"].shape[2] == 5
    stage = stage_of(policy, sft(), NEW, 1, earlier=OLD, inherited={"holdfast": left})
    memory = dict(left)
    policy.model.zero_grad()
    said = strategy.gradient(stage, memory, None)
    assert said["holdfast_kl"] == pytest.approx(0, abs=1e-6) and gradient(policy).abs().max() < 1e-5
    nudge(policy)
    policy.model.zero_grad()
    said = strategy.gradient(stage, memory, None)
    own = as_groups(stage, kept)
    now_TV = policy.distributions(own.prompts, own.completions)
    then_TK, mask_MR = kept["logprobs"][kept["mask"]], kept["mask"]
    kl_T = mismatch(then_TK, now_TV.gather(1, kept["ids"][mask_MR]), "kl")
    means = [one.mean() for one in kl_T.split(mask_MR.sum(1).tolist())]
    drawn = min(means, key=lambda one: abs(one.item() - said["holdfast_kl"]))
    assert drawn.item() == pytest.approx(said["holdfast_kl"], rel=1e-4)
    wanted = flat(0.7 * drawn, trained_parameters(policy))
    torch.testing.assert_close(gradient(policy), wanted, rtol=1e-3, atol=1e-6)


def test_the_guard_goes_to_the_task_that_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = loaded()
    strategy, left = guarded(policy, answers=4)
    stage = stage_of(policy, sft(), NEW, 1, earlier=OLD, inherited={"holdfast": left})
    asked: list[str] = []

    def moves(stage: Any, groups: Groups, loss: Any, most_rows: Any = None) -> torch.Tensor:
        asked.extend(item[0].name for item in groups.items)
        return torch.zeros(())

    monkeypatch.setattr("holdfast.learning.retention.holdfast.gradient_of", moves)
    monkeypatch.setattr("holdfast.learning.retention.holdfast.add_to_gradient", lambda *_: 0.0)
    memory = dict(left)
    for _ in range(50):
        strategy.gradient(stage, memory, None)
    assert 70 < asked.count("reading") < 130  # of 200: both alike while neither has moved
    asked.clear()
    moved = {key: [1.0] for key in table(memory, "moved")}
    keep_table(
        memory,
        "moved",
        {key: row if key == seed("task", "counting") else [0.0] for key, row in moved.items()},
    )
    strategy.gradient(stage, memory, None)
    assert asked == ["counting"] * 4  # 1.02 to .02
    assert table(memory, "moved")[seed("task", "counting")] == pytest.approx([0.7**4])  # KL 0, four times
    asked.clear()
    for _ in range(50):
        rows = {key: [0.06 if key == seed("task", "counting") else 0.0] for key in moved}
        keep_table(memory, "moved", rows)
        strategy.gradient(stage, memory, None)
    assert 140 < asked.count("counting") < 180  # of 200: .08 to .02


@pytest.mark.slow
def test_the_guard_keeps_right_answers_of_the_last_iterations_and_averages(tmp_path: Path) -> None:
    policy = loaded()
    method = grpo(batch=8, retention={"kind": "holdfast", "keep": 2, "average": 0.25, "answers": 3})
    stage = stage_of(policy, method, OLD["reading"], 4)
    _, left = learn(stage, folder=tmp_path / "one", checkpoint_every=9, on_step=lambda *_: None)
    kept = answers_of(left["holdfast"])
    groups = as_groups(stage, kept)
    assert 0 < len(groups.items) <= 2 * 8
    for (_, example), text in zip(groups.items, policy.decode(groups.completions), strict=True):
        assert example.answer in text[0]
    now_TV = policy.group_distributions(groups.prompts, groups.completions)  # as the stage ended
    then_TK = kept["logprobs"][kept["mask"]]
    torch.testing.assert_close(now_TV.gather(1, kept["ids"][kept["mask"]]), then_TK, rtol=1e-4, atol=1e-4)

    before, ends = weights(policy), {}
    for average in (0.0, 0.25):
        policy = loaded()
        method = grpo(batch=8, retention={"kind": "holdfast", "average": average})
        stage = stage_of(policy, method, NEW, 1, earlier={"reading": OLD["reading"]}, inherited=left)
        learn(stage, folder=tmp_path / str(average), checkpoint_every=9, on_step=lambda *_: None)
        ends[average], start = weights(policy), weights(loaded())
    assert before.keys() == start.keys()
    for name in start:
        wanted = ends[0.0][name] + 0.25 * (start[name] - ends[0.0][name])
        torch.testing.assert_close(ends[0.25][name], wanted, rtol=1e-5, atol=1e-7)
