"""Strategies in function space, by a penalty, a teacher or a rate: their rules worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from holdfast.files import read_jsonl
from holdfast.learning.distillation import divergence, part_of_the_way
from holdfast.learning.groups import Groups
from holdfast.learning.likelihood import Likelihood, with_references
from holdfast.learning.loop import learn
from holdfast.learning.methods import make_method
from holdfast.learning.policygradient import PolicyGradient
from holdfast.learning.retention.answers import answers_of
from holdfast.learning.retention.mcpo import penalty
from holdfast.learning.retention.rapo import RaPO
from holdfast.learning.retention.tmkl import without_targets
from holdfast.policy.batch import Completions, GroupLogprobs
from holdfast.policy.gradients import flat, trained_parameters
from holdfast.policy.policy import Policy
from holdfast.tasks.prompts import HINTS, TEMPLATES
from replay_helpers import NEW, OLD, gradient, loaded, made, nudge
from test_learning import SHORT, Scripted, grpo, scripted_groups, sft, stage_of, weights


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
        policy=SimpleNamespace(operations=operations), inherited={"rapo": {}}, sampler=None,
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


def test_the_penalty_on_old_prompts_is_their_mean_whoever_leaves_the_step() -> None:
    """A new prompt without an advantage leaves; of the step's one token, the old one, the penalty is all."""
    stage, groups = asked_again()
    stage.method = grpo(drop_zero_variance=True)
    idle = replace(groups, advantages_BG=torch.tensor([[0.0], [2.0]]))
    objective = PolicyGradient(stage.method, {}, None)
    found = objective.chosen(made("kl_old", coef=0.2).collected(stage, {}, idle))
    assert found.items == (OLD["reading"][0],)
    loss = objective.loss(Scripted([[[-1.0, 0.0]]]), found).loss  # type: ignore[arg-type]
    assert loss.item() / found.completions.mask_BGR.sum() == pytest.approx(0.2 * (math.exp(-0.5) + 0.5 - 1))


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


@pytest.mark.slow
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


def test_tmkl_holds_all_but_the_target(tmp_path: Path) -> None:
    """Of (½, ¼, ¼) and (0.8, 0.15, 0.05) without the first: (½, ½) and (¾, ¼); the first has no gradient."""
    then, now = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.8, 0.15, 0.05]]).log()
    found = without_targets(then.clone(), now.requires_grad_(), torch.tensor([0]))
    assert found.item() == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), rel=1e-5)
    found.sum().backward()
    assert now.grad is not None and now.grad[0].tolist() == pytest.approx([0, 0.25, -0.25])
    sure = torch.tensor([[0.0, -30.0, -31.0, -1e30]])  # all but certain, with an id that is never sampled
    apart = without_targets(sure.clone(), sure - torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.tensor([0]))
    q = torch.tensor([-31.0, -31.0]).softmax(0), torch.tensor([-30.0, -31.0]).softmax(0)
    assert apart.item() == pytest.approx((q[1] * (q[1] / q[0]).log()).sum().item(), rel=1e-4)

    policy, base = loaded(), loaded()
    strategy, stage = made("tmkl", alpha=2.0), stage_of(policy, sft(), NEW, 1)
    strategy.begin(stage, {})
    nudge(policy)
    groups = Likelihood(sft(), TEMPLATES["embedded"]).collect(policy, NEW[:4], ())
    strategy.gradient(stage, {}, groups)
    asked = groups.prompts, groups.completions
    targets_T = groups.completions.tokens_BGR[groups.completions.mask_BGR]
    dropped_TV = torch.nn.functional.one_hot(targets_T, len(policy.draw.banned_V)).bool()
    then_TV, now_TV = (
        one.masked_fill(dropped_TV, -1e30).log_softmax(-1)
        for one in (base.group_distributions(*asked), policy.distributions(*asked))
    )
    kl = (then_TV.exp() * (then_TV - now_TV)).sum(-1).mean()
    wanted = flat(2 * kl, trained_parameters(policy))
    torch.testing.assert_close(gradient(policy), wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("phi", [True, False])
def test_chord_mixes_two_gradients(phi: bool) -> None:
    """(1 − μ) of what there is, and μ of imitating the references of new prompts alone."""
    policy, strategy = loaded(), made("chord", mu=0.4, phi=phi)
    stage = stage_of(policy, grpo(), NEW, 1, earlier=OLD)
    shown = with_references(policy, NEW[:3], TEMPLATES["embedded"], "cot", "answer")
    logprobs_T = policy.group_logprobs(shown.prompts, shown.completions).logprobs_BGR[
        shown.completions.mask_BGR
    ]
    p_T = logprobs_T.detach().exp()
    wanted = flat(-((p_T * (1 - p_T) if phi else 1) * logprobs_T).mean(), trained_parameters(policy))
    for one in trained_parameters(policy):
        one.grad = torch.ones_like(one)
    groups = SimpleNamespace(items=(NEW[0], OLD["reading"][0], *NEW[1:3]))
    said = strategy.gradient(stage, {}, groups)
    torch.testing.assert_close(gradient(policy), 0.6 + 0.4 * wanted, rtol=1e-3, atol=1e-5)
    assert said["chord_mu"] == 0.4
    assert said["chord_share"] == pytest.approx(
        float(0.4 * wanted.norm() / gradient(policy).norm()), rel=1e-3
    )


def test_the_weight_of_chord_falls_by_a_cosine_over_its_share_of_the_stage() -> None:
    weight = made("chord", mu=0.9, mu_end=0.1, decay=0.5).weight
    assert [weight(step, 8) for step in (0, 2, 4, 7)] == pytest.approx([0.9, 0.5, 0.1, 0.1])
    assert made("chord", mu=0.9, mu_end=0.1, decay=0).weight(0, 8) == pytest.approx(0.1)


def test_the_weight_of_chord_falls_where_steps_are_not_made_too() -> None:
    """As the learning rate does: of 2 updates an iteration one is made where half of the prompts leave."""
    strategy, memory = made("chord", mu=0.9, mu_end=0.1), dict[str, torch.Tensor]()
    stage: Any = stage_of(None, grpo(updates=2), NEW, 4, earlier=OLD)
    old: Any = SimpleNamespace(items=(OLD["reading"][0],))  # nothing to imitate: only μ is found
    found = []
    for made_steps in (2, 1, 0, 1):
        strategy.collected(stage, memory, old)
        found += [strategy.gradient(stage, memory, old)["chord_mu"] for _ in range(made_steps)]
    assert found == pytest.approx([strategy.weight(step, 8) for step in (0, 1, 2, 6)])


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
    served = SimpleNamespace(**vars(stage) | {"sampler": object()})  # whose numbers are not asked
    known = replace(groups, old_logprobs_BGR=groups.completions.logprobs_BGR)
    other = replace(groups.completions, logprobs_BGR=torch.zeros(2, 1, 2))
    assert strategy.drift(served, replace(known, completions=other)).tolist() == [[0.5], [0.5]]
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


def test_isdft_goes_a_share_of_the_way_to_the_teacher(tmp_path: Path) -> None:
    """Of (½, ½) and (0.8, 0.2): E_q[log T/p] = q ln 1.6 + (1 − q) ln 0.4 is half of 0.8 ln 1.6 + 0.2 ln 0.4.

    An entry that is never sampled stays so, and a token on which both agree is left alone.
    """
    student = torch.tensor([[0.5, 0.5, 1e-30], [0.3, 0.7, 1e-30]]).log()
    student[:, 2] = -1e30
    teacher = student.clone()
    teacher[0, :2] = torch.tensor([0.8, 0.2]).log()
    found = part_of_the_way(teacher, student, 0.5)
    half = (0.8 * math.log(1.6) + 0.2 * math.log(0.4)) / 2
    q = (half - math.log(0.4)) / (math.log(1.6) - math.log(0.4))
    assert found.exp().flatten().tolist() == pytest.approx([q, 1 - q, 0, 0.3, 0.7, 0], abs=1e-6)

    def sdft(**changes: Any) -> Any:
        return make_method(objective="sdft", learning_rate=1e-3, batch=4, sampling=SHORT, **changes)

    ramp = sdft(rho=0.9, rho_start=0.1, rho_ramp=0.5)
    assert [ramp.rho_of(iteration, 8) for iteration in (0, 2, 4, 7)] == pytest.approx([0.1, 0.5, 0.9, 0.9])
    assert sdft(rho=0.5).rho_of(0, 8) == 0.5
    plain = sdft().determining(["a"])
    assert not {"rho", "rho_start", "rho_ramp"} & plain.keys()
    assert sdft(rho_start=1.0, rho_ramp=0.5).determining(["a"]) == plain
    assert sdft(rho=0.5).determining(["a"]) == plain | {"rho": 0.5}
    assert sdft().distributions.tables + 1 == sdft(rho_start=0.5).distributions.tables

    rows = []
    for changes in ({}, {"rho": 0.3, "rho_start": 0.3}):
        stage = stage_of(loaded(), sdft(**changes), NEW, 1, hint=HINTS["embedded"])
        folder = tmp_path / str(len(rows))
        learn(stage, folder=folder, checkpoint_every=9, on_step=lambda *_: None)
        rows += read_jsonl(folder / "metrics.jsonl")
    assert 0 < rows[1]["kl"] < rows[0]["kl"]


@pytest.mark.slow
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
