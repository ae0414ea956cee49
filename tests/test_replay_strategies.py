"""Strategies by replay and in function space: their rules worked by hand, and what all of them must do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from experiment_helpers import learn_here, make_experiment
from holdfast.errors import HoldfastError
from holdfast.files import read_jsonl
from holdfast.learning.distillation import divergence
from holdfast.learning.loop import learn
from holdfast.learning.methods import make_method
from holdfast.learning.objectives import Groups, Likelihood, PolicyGradient
from holdfast.learning.retention import strategy_class
from holdfast.learning.retention.answers import (
    answers_of,
    as_groups,
    gradient_of,
    join,
    keep_answers,
    mismatch,
    taken,
)
from holdfast.learning.retention.cpr import CPR
from holdfast.learning.retention.mcpo import penalty
from holdfast.learning.retention.pool import keep_table, key_of, mixed, table
from holdfast.learning.retention.rapo import RaPO
from holdfast.learning.retention.remind import Remind
from holdfast.policy.batch import Completions, GroupLogprobs
from holdfast.policy.gradients import flat, trained_parameters
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from holdfast.rng import seed
from holdfast.tasks.prompts import HINTS, TEMPLATES
from test_learning import SHORT, Scripted, grpo, items_of, scripted_groups, sft, stage_of, weights

NEW, OLD = items_of("photos", 16), {"reading": items_of("reading", 8), "counting": items_of("counting", 8)}

# Of each kind: the way of learning it is tried with, and its settings.
EVERY: dict[str, tuple[Any, dict[str, Any]]] = {
    "er": (grpo, {"share": 0.3}),
    "der": (sft, {"entries": 4, "buffer": 6, "replayed": 3}),
    "der_rft": (grpo, {"kind": "der", "entries": 4, "match": "kl", "buffer": 6, "replayed": 3}),
    "opr": (sft, {"buffer": 24, "max_tokens": 16, "temperature": 1.0}),
    "cpr": (grpo, {"least": 0, "most": 1, "cooldown": 0, "retest": 0.5}),
    "remind": (grpo, {"first": 1}),
    "holdfast": (grpo, {"average": 0.5, "answers": 2}),
    "holdfast_sft": (sft, {"kind": "holdfast", "answers": 2}),
    "lwf": (sft, {}),
    "asft": (sft, {}),
    "finch": (sft, {"kappa": 1e-4}),
    "kl_old": (grpo, {}),
    "opd": (grpo, {}),
    "mcpo": (grpo, {"delta": 0.0}),
    "mcpo_updates": (grpo, {"kind": "mcpo", "delta": 0.0}),
    "rapo": (grpo, {}),
}
CHANGES: dict[str, dict[str, Any]] = {
    "mcpo_updates": {"updates": 2},
    "asft": {"loss": "dft"},
}  # of the method


def settings_of(case: str) -> dict[str, Any]:
    return {"kind": case} | EVERY[case][1]


def method_of(case: str) -> Any:
    return EVERY[case][0](batch=8, retention=settings_of(case), **CHANGES.get(case, {}))


def made(kind: str, **settings: Any) -> Any:
    return strategy_class(kind).model_validate({"kind": kind} | settings)


def loaded() -> Policy:
    return Policy.load("embedded", ModelSettings())


def nudge(policy: Policy, size: float = 0.02) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one in policy.model.parameters():
            one += size * one.abs().mean() * torch.randn(one.shape, generator=generator)


@pytest.mark.parametrize("case", EVERY)
def test_a_killed_stage_with_a_strategy_goes_on_to_the_same_bits(case: str, tmp_path: Path) -> None:
    """The first stage works, what it leaves is taken up by the second, and that resumes to the same bits."""
    method = method_of(case)

    def stage(name: str, left: Any, earlier: Any, items: Any, die_at: int | None = None) -> Any:
        policy = loaded()

        def on_step(done: int, total: int, row: Any) -> None:
            if done == die_at:
                raise KeyboardInterrupt

        task = items[0][0].name
        iterations = 4 if earlier else 2
        one = stage_of(
            policy, method, items, iterations, inherited=left, earlier=earlier, stream=("test", task)
        )
        totals, left = learn(one, folder=tmp_path / name, checkpoint_every=2, on_step=on_step)
        return weights(policy), left, totals

    _, left, _ = stage("first", {}, {}, OLD["reading"])
    earlier = {"reading": OLD["reading"]}
    whole, after, totals = stage("whole", left, earlier, NEW)
    with pytest.raises(KeyboardInterrupt):
        stage("killed", left, earlier, NEW, die_at=3)
    resumed, after_kill, again = stage("killed", left, earlier, NEW)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert totals["flops"] == again["flops"]
    for strategy, tensors in after.items():
        assert all(torch.equal(tensors[name], after_kill[strategy][name]) for name in tensors)
    rows = read_jsonl(tmp_path / "whole" / "metrics.jsonl")
    assert any(row.get(f"{method.retention[0].name}_share", 0) > 0 for row in rows)


def test_all_of_them_run_through_plan_and_store(tmp_path: Path) -> None:
    """Two stages each; and self-distillation, which is a way of learning."""
    methods: dict[str, Any] = {
        case: {"objective": "sft" if make is sft else "grpo", "iterations": 1, "retention": settings_of(case)}
        | CHANGES.get(case, {})
        for case, (make, _) in EVERY.items()
        if case != "mcpo_updates"
    }
    methods["sdft"] = {"objective": "sdft", "iterations": 1}
    experiment = make_experiment(tmp_path, methods=methods, general=[], train_examples=8, test_examples=1)
    plan, store = learn_here(experiment)
    for chain in plan.chains:
        rows = store.rows(plan.jobs[chain.learn[1]], "metrics.jsonl")
        assert [row["skipped"] for row in rows] == [0]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("asft", {"objective": "sft"}, "loss: dft"),
        ("asft", {"objective": "grpo"}, "loss: dft"),
        *(
            (kind, {"objective": "sft"}, "graded answers")
            for kind in ("cpr", "remind", "kl_old", "opd", "mcpo")
        ),
        ("kl_old", {"objective": "grpo", "kl_coef": 0.1}, "leave kl_coef out"),
        *(
            (kind, {"objective": "grpo", "drop_zero_variance": True, "refills": 1}, "leave refills out")
            for kind in ("kl_old", "opd", "mcpo")
        ),
        ("rapo", {"objective": "rloo"}, "use objective: grpo"),
        ("rapo", {"objective": "grpo", "positives_only": True}, "without positives_only"),
        ("mcpo", {"objective": "rloo"}, "level: false"),
        ("der", {"objective": "sdft"}, "sdft grades none"),
        ("holdfast", {"objective": "sdft"}, "sdft grades none"),
        ("holdfast", {"objective": "grpo", "joint": True}, "a joint method has no earlier tasks"),
    ],
)
def test_what_a_strategy_lacks_is_said_before_any_work(
    kind: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_method(learning_rate=1e-3, retention={"kind": kind}, **changes)


def test_old_prompts_lie_evenly_between_new_ones() -> None:
    """So that each of 4 updates has one of 4 old ones."""
    batch = mixed(list("abcdefghijkl"), list("1234"))  # type: ignore[arg-type]
    assert [sum(one.isdigit() for one in batch[start : start + 4]) for start in (0, 4, 8, 12)] == [1, 1, 1, 1]  # type: ignore[attr-defined]
    assert "".join(one for one in batch if one.isalpha()) == "abcdefghijkl"  # type: ignore[attr-defined,misc]


def test_memory_knows_examples_by_keys_and_answers_of_any_length() -> None:
    memory: dict[str, torch.Tensor] = {}
    keep_table(memory, "rates", {})
    assert table(memory, "rates") == {} == table({}, "rates")
    keys = [key_of(item) for item in [*NEW, *OLD["reading"]]]
    assert len(set(keys)) == 24
    keep_table(memory, "rates", {key: [0.5, 3] for key in keys})
    assert table(memory, "rates") == {key: [0.5, 3] for key in keys}

    def answers(tokens: list[list[int]]) -> Any:
        mask = torch.tensor(tokens) > 0
        return Completions(torch.tensor(tokens)[:, None], mask[:, None], mask[:, :1])

    short = taken(answers([[5, 6], [7, 0]]), NEW[:2], [(1, 0), (0, 0)])
    long = taken(answers([[1, 2, 3]]), NEW[2:3], [(0, 0)])
    keep_answers(memory, join(short, {}, long))
    kept = answers_of(memory)
    assert kept["tokens"].tolist() == [[7, 0, 0], [5, 6, 0], [1, 2, 3]]
    assert kept["mask"].sum(1).tolist() == [1, 2, 3]
    assert kept["keys"].tolist() == [key_of(NEW[row]) for row in (1, 0, 2)]
    with pytest.raises(HoldfastError, match="`earlier` must hold"):
        as_groups(SimpleNamespace(policy=None, earlier={}, items=NEW[:1]), kept)  # type: ignore[arg-type]
    keep_answers(memory, {})
    assert answers_of(memory) == {}


def test_the_gradient_of_old_answers_is_that_of_one_pass_whatever_the_parts() -> None:
    policy = loaded()
    groups = Likelihood(sft(), TEMPLATES["embedded"]).collect(policy, OLD["reading"], ())
    answers = taken(groups.completions, groups.items, [(row, 0) for row in range(8)])
    found = []
    for micro_batch in (None, 3):
        stage = stage_of(policy, sft(micro_batch=micro_batch), NEW, 1, earlier=OLD)
        again = as_groups(stage, answers)
        found.append(gradient_of(stage, again, lambda part, _: -logprobs(policy, part).sum()))
        assert stage.spent["flops"] == policy.operations.training(groups.prompts, groups.completions)
    wanted = flat(-logprobs(policy, groups).sum(), trained_parameters(policy))
    for one in found:
        torch.testing.assert_close(one, wanted, rtol=1e-4, atol=1e-4)


def logprobs(policy: Policy, groups: Groups) -> torch.Tensor:
    return policy.group_logprobs(groups.prompts, groups.completions).logprobs_BGR


def graded(items: Any, scores: list[list[float]]) -> Groups:
    """Groups that say how often they were right, and no more."""
    return Groups(
        [0] * len(items),
        None,
        torch.zeros(len(items), 1),
        scores_BG=torch.tensor(scores, dtype=torch.float32),
        items=items,
    )  # type: ignore[arg-type]


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
    for now, rate in enumerate([1.0, 0.9, 1.0, 0.5, 0.9, *[1.0] * 6]):
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


def gradient(policy: Policy) -> torch.Tensor:
    return torch.cat([one.grad.flatten() for one in trained_parameters(policy)])  # type: ignore[union-attr]


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

    due = round(8 * len(kept["keys"]) / 16)  # of a batch of 8, M answers for 16 examples
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


class AsBefore:
    """A policy of before, whose log-probabilities are given for whatever is asked."""

    def __init__(self, value: float) -> None:
        self.value = value

    def group_logprobs(self, prompts: Any, completions: Completions, temperature: float = 1.0) -> Any:
        logprobs = torch.full(completions.mask_BGR.shape, self.value) * completions.mask_BGR
        return GroupLogprobs(logprobs, logprobs)


def asked_again() -> tuple[Any, Groups]:
    """A stage whose start said −1.5 of each token, and a batch of one new and one old prompt, at −1."""
    groups = scripted_groups([[[1, 1]], [[1, 0]]], [[0.5], [2.0]])
    said = torch.tensor([[[-1.0, -1.0]], [[-1.0, 0.0]]])
    completions = replace(groups.completions, logprobs_BGR=said)
    prompts = type("Two", (), {"select": lambda self, rows: [0] * len(rows), "__len__": lambda self: 2})()
    groups = Groups(prompts, completions, groups.advantages_BG, items=(NEW[0], OLD["reading"][0]))
    operations = SimpleNamespace(forward=lambda prompts, completions: 7.0)
    stage = SimpleNamespace(
        items=NEW, earlier=OLD, method=grpo(), past=lambda which: AsBefore(-1.5), spent={"flops": 0.0},
        policy=SimpleNamespace(operations=operations), inherited={"rapo": {}},
    )  # fmt: skip
    return stage, groups


def test_kl_on_old_prompts_by_hand() -> None:
    """The new prompt keeps its advantage and has no penalty; the old one has k3(½) β and nothing else.

    Its one token is a third of the step's, so that in a sum over tokens the penalty counts three times.
    """
    stage, groups = asked_again()
    found = made("kl_old", coef=0.2).collected(stage, {}, groups)
    assert found.stats["kl_old_share"] == 0.5 and stage.spent["flops"] == 7.0
    policy: Any = Scripted([[[-1.0, -1.0]], [[-1.0, 0.0]]])
    sums = PolicyGradient(grpo(), {}, None).loss(policy, found)
    sums.loss.backward()
    k3 = math.exp(-0.5) + 0.5 - 1
    assert sums.loss.item() == pytest.approx(-0.5 * 2 + 3 * 0.2 * k3)
    assert found.stats["kl_old"] == pytest.approx(k3)
    wanted = [-0.5, -0.5, 3 * 0.2 * (1 - math.exp(-0.5)), 0.0]
    assert policy.logprobs.grad.flatten().tolist() == pytest.approx(wanted)
    assert made("kl_old", reward=True).collected(stage, {}, groups).advantages_BG.tolist() == [[0.5], [2.0]]


def test_on_policy_distillation_by_hand() -> None:
    """A token that the teacher finds e^-½ as likely has advantage −c / 2, and survives what drops prompts."""
    stage, groups = asked_again()
    found = made("opd", coef=2.0).collected(stage, {}, groups)
    policy: Any = Scripted([[[-1.0, -1.0]], [[-1.0, 0.0]]])
    PolicyGradient(grpo(), {}, None).loss(policy, found).loss.backward()
    assert policy.logprobs.grad.flatten().tolist() == pytest.approx([-0.5, -0.5, 2.0 * 0.5, 0.0])
    dropping = PolicyGradient(grpo(drop_zero_variance=True), {}, None)
    assert dropping.chosen(found) is found


def test_divergence_and_lwf() -> None:
    """KL of (¾, ¼) from (½, ½) by hand; no pull at the start, and back to it after a change."""
    teacher, student = torch.tensor([[0.75, 0.25]]).log(), torch.tensor([[0.5, 0.5]]).log().requires_grad_()
    found = divergence(teacher, student)
    assert found.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    found.sum().backward()
    assert student.grad is not None and student.grad.tolist() == [[-0.75, -0.25]]

    policy = loaded()
    strategy, stage = made("lwf", alpha=3.0), stage_of(policy, sft(), NEW, 1)
    strategy.begin(stage, {})
    groups = Likelihood(sft(), TEMPLATES["embedded"]).collect(policy, NEW[:4], ())
    strategy.gradient(stage, {}, groups)
    assert gradient(policy).abs().max() < 1e-5
    then_TV = policy.group_distributions(groups.prompts, groups.completions, 2.0)
    nudge(policy)
    policy.model.zero_grad()
    strategy.gradient(stage, {}, groups)
    now_TV = policy.distributions(groups.prompts, groups.completions, 2.0)
    kl = (then_TV.exp() * (then_TV - now_TV)).sum(-1).mean()
    torch.testing.assert_close(
        gradient(policy), flat(3 * kl, trained_parameters(policy)), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("to", ["base", "stage_start"])
def test_asft_is_dft_with_a_pull_to_the_base_or_to_the_start_of_the_stage(to: str) -> None:
    """The gradient of Σ (p_t held fixed) (−log p_t) + α KL(teacher ‖ π), a mean over tokens."""
    policy, base = loaded(), loaded()
    nudge(policy)  # the stage does not begin with the base
    start = policy.snapshot()
    method = sft(loss="dft", retention={"kind": "asft", "alpha": 0.3, "to": to}, clip_grad=1e9)
    (strategy,) = method.retention
    stage = stage_of(policy, method, NEW, 1)
    strategy.begin(stage, {})
    nudge(policy, 0.05)
    objective = Likelihood(method, TEMPLATES["embedded"])
    groups = objective.collect(policy, NEW[:4], ())
    tokens = groups.completions.mask_BGR.sum()
    (objective.loss(policy, groups).loss / tokens).backward()
    share = strategy.gradient(stage, {}, groups)["asft_share"]
    teacher = base if to == "base" else start
    then_TV = teacher.group_distributions(groups.prompts, groups.completions)
    now_TV = policy.distributions(groups.prompts, groups.completions)
    targets_T = groups.completions.tokens_BGR[groups.completions.mask_BGR]
    said_T = now_TV.gather(1, targets_T[:, None])[:, 0]
    kl_T = (then_TV.exp() * (then_TV - now_TV)).sum(-1)
    loss = (-said_T.exp().detach() * said_T + 0.3 * kl_T).mean()
    torch.testing.assert_close(gradient(policy), flat(loss, trained_parameters(policy)), rtol=1e-3, atol=1e-6)
    assert 0 < share < 1


def test_the_rate_of_finch_by_hand(tmp_path: Path) -> None:
    """κ / √ of the moving average of the losses, at most the schedule's; written beside each loss."""
    strategy = made("finch", kappa=0.3, beta=0.9)
    memory: dict[str, torch.Tensor] = {}
    stage: Any = None
    assert strategy.rate(stage, memory, 1.0, 4.0) == pytest.approx(0.3 / 2)
    assert strategy.rate(stage, memory, 1.0, 1.0) == pytest.approx(0.3 / math.sqrt(0.9 * 4 + 0.1))
    assert strategy.stepped(stage, memory, None)["finch_share"] == pytest.approx(1 - 0.3 / math.sqrt(3.7))  # type: ignore[arg-type]
    assert strategy.rate(stage, memory, 0.1, 0.0) == 0.1  # the schedule's is smaller
    assert strategy.stepped(stage, memory, None)["finch_share"] == 0  # type: ignore[arg-type]

    for make, changes in ((grpo, {}), (sft, {"loss": "dft"})):
        with pytest.raises(ValidationError, match="use it with objective: sft and loss: nll"):
            make(retention={"kind": "finch", "kappa": 1e-4}, **changes)
    method = sft(retention={"kind": "finch", "kappa": 2e-4}, learning_rate=1e-3)
    learn(stage_of(loaded(), method, NEW, 5), folder=tmp_path, checkpoint_every=9, on_step=lambda *_: None)
    mean = None
    for row in read_jsonl(tmp_path / "metrics.jsonl"):
        mean = row["loss"] if mean is None else 0.9 * mean + 0.1 * row["loss"]
        expected = min(1e-3, 2e-4 / math.sqrt(mean))
        assert row["learning_rate"] == pytest.approx(expected, rel=1e-6)
        assert row["finch_share"] == pytest.approx(1 - expected / 1e-3, rel=1e-5)


def test_the_rate_that_finch_says_is_the_one_that_is_stepped_by(tmp_path: Path) -> None:
    """One step at κ / √loss is that of a method with this learning rate, to the bit."""
    policy, plain = loaded(), loaded()

    def row_of(one: Policy, folder: str, **changes: Any) -> Any:
        stage = stage_of(one, sft(**changes), NEW, 1)
        learn(stage, folder=tmp_path / folder, checkpoint_every=9, on_step=lambda *_: None)
        return read_jsonl(tmp_path / folder / "metrics.jsonl")[0]

    row = row_of(policy, "finch", retention={"kind": "finch", "kappa": 1e-4})
    row_of(plain, "plain", learning_rate=row["learning_rate"])
    assert row["learning_rate"] < 1e-3
    assert all(torch.equal(weights(policy)[name], tensor) for name, tensor in weights(plain).items())


def test_the_penalty_of_mcpo_by_hand() -> None:
    """Nothing within ±δ; beyond, the excess of k3, which is 0 at the edge on either side."""
    found = penalty(torch.tensor([0.05, 0.1, -0.1, 1.0, -1.0]), 0.1)
    k3 = lambda d: math.exp(d) - d - 1  # noqa: E731
    assert found.tolist() == pytest.approx([0, 0, 0, k3(1) - k3(0.1), k3(-1) - k3(-0.1)], abs=1e-6)
    assert torch.isfinite(penalty(torch.tensor([800.0]), 0.1)).all()


def test_mcpo_levels_advantages_and_looks_at_the_answers_of_the_batch_before() -> None:
    policy = loaded()
    strategy, method = made("mcpo", delta=0.0), grpo(batch=3)
    stage = stage_of(policy, method, NEW, 2)
    groups = PolicyGradient(method, TEMPLATES["embedded"], None).collect(policy, NEW[:3], ("s",))
    groups = Groups(
        groups.prompts, groups.completions, torch.ones(3, 4), items=groups.items,
        scores_BG=torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]]),
    )  # fmt: skip
    memory: dict[str, torch.Tensor] = {}
    found = strategy.collected(stage, memory, groups)
    level = 2 * math.sqrt(3 / 16)
    assert found.advantages_BG[:, 0].tolist() == pytest.approx([1, 1 / level, 1])
    assert found.stats["mcpo_mastered"] == pytest.approx(1 / 3)
    assert strategy.gradient(stage, memory, groups) == {}  # there is no batch before
    nudge(policy)
    strategy.collected(stage, memory, groups)
    assert strategy.gradient(stage, memory, groups)["mcpo_share"] == pytest.approx(1.0, abs=1e-3)
    mastered = groups.rows([0])
    now = policy.group_logprobs(mastered.prompts, mastered.completions).logprobs_BGR
    then = answers_of(memory, "before")["logprobs"][:, : now.shape[2]]
    d = now[0] - then
    means = (d.exp() - d - 1).sum(1) / mastered.completions.mask_BGR[0].sum(1)
    wanted = flat(means.mean(), trained_parameters(policy))
    torch.testing.assert_close(gradient(policy), wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore:std")  # of groups of one
def test_rapo_by_hand() -> None:
    """d is ½ a token, so each answer earns λ e^(−½ α); σ is the first batch's, then moves by .1 and .001."""
    stage, groups = asked_again()
    strategy = RaPO(alpha=2.0, weight=0.5)
    groups = replace(groups, rewards_BG=torch.tensor([[1.0], [0.0]]))
    assert strategy.drift(stage, groups).tolist() == [[0.5], [0.5]]
    said = strategy.collected(stage, {}, groups)
    earned = 0.5 * math.exp(-1)
    assert said.stats["rapo_share"] == pytest.approx(earned / (0.5 + earned))

    memory: dict[str, torch.Tensor] = {}
    first, second = torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.5], [0.0, 0.5]])
    sigma = float(first.std())
    assert strategy.advantages(memory, first)[0].tolist() == pytest.approx(
        [-0.5 / sigma, 0.5 / sigma], rel=1e-4
    )
    for pace in (0.1, 0.001):
        sigma += pace * (float(second.std()) - sigma)
        found = strategy.advantages(memory, second)[0].tolist()
        assert found == pytest.approx([-0.25 / sigma, 0.25 / sigma], rel=1e-4)
    far = {"std": torch.tensor(0.01), "updates": torch.tensor(2)}
    assert strategy.advantages(far, first)[0, 1].item() == pytest.approx(0.5 / math.sqrt(0.5), rel=1e-3)


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


def test_self_distillation_moves_towards_what_the_model_says_when_it_is_shown_the_answer(
    tmp_path: Path,
) -> None:
    """Shown nothing, it has nothing to learn; shown the answer, its divergence falls."""
    method = make_method(objective="sdft", learning_rate=1e-3, batch=8, sampling=SHORT, weight_decay=0.0)
    policy, start = loaded(), weights(loaded())
    same = stage_of(policy, method, NEW, 1, hint="{prompt}")
    totals, _ = learn(same, folder=tmp_path / "same", checkpoint_every=9, on_step=lambda *_: None)
    (row,) = read_jsonl(tmp_path / "same" / "metrics.jsonl")
    assert row["kl"] == pytest.approx(0, abs=1e-5) and row["grad_norm"] < 1e-3
    assert totals["sampled"] == 8
    policy = loaded()
    shown = stage_of(policy, method, NEW, 8, hint=HINTS["embedded"])
    learn(shown, folder=tmp_path / "shown", checkpoint_every=9, on_step=lambda *_: None)
    rows = read_jsonl(tmp_path / "shown" / "metrics.jsonl")
    assert rows[0]["kl"] > 0.01 and rows[-1]["kl"] < rows[0]["kl"]
    assert any(not torch.equal(start[name], one) for name, one in weights(policy).items())
