"""Variants of the policy gradient and of the likelihood, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from experiment_helpers import make_experiment
from holdfast.errors import InputError
from holdfast.learning.advantages import zero_variance
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.methods import make_method
from holdfast.learning.policygradient import PolicyGradient
from holdfast.policy import logprobs
from holdfast.policy.gradients import flat, trained_parameters
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from holdfast.tasks.prompts import TEMPLATES
from test_learning import SHORT, Scripted, items_of, scripted_groups, sft, train

UP, DOWN = math.log(1.5), math.log(0.5)


def method_of(objective, **changes):
    settings = {"objective": objective, "learning_rate": 1e-3, "batch": 4, "group_size": 4, "sampling": SHORT}
    return make_method(**(settings | changes))


def value_and_gradient(method, logprobs, mask, advantages, old):
    policy = Scripted(logprobs)
    objective = PolicyGradient(method, {}, None)
    groups = objective.weighed(scripted_groups(mask, advantages, old=old))
    sums = objective.loss(policy, groups)
    loss = sums.loss / groups.completions.mask_BGR.sum()
    loss.backward()
    return sums, loss.item(), policy.logprobs.grad


def test_gspo_has_one_ratio_a_completion():
    """Two tokens with ratios 1.5 and 0.5: s = sqrt(0.75); of one token: 1.5, clipped where it pushes on."""
    method = method_of("gspo", clip_low=0.2, clip_high=0.3)
    sums, loss, gradient = value_and_gradient(
        method, [[[UP, DOWN], [UP, 7.0]]], [[[1, 1], [1, 0]]], [[2.0, 1.0]], [[[0.0, 0.0], [0.0, 0.0]]]
    )
    s = math.sqrt(0.75)
    assert loss == pytest.approx(-(2 * s + 1.3) / 2)  # over completions
    # ∂s/∂log p of either token = s / 2; the clipped completion has none.
    expected = [-2 * s / 2 / 2, -2 * s / 2 / 2, 0.0, 0.0]
    assert gradient.flatten().tolist() == pytest.approx(expected)
    assert sums.clipped == 1


def test_cispo_keeps_the_gradient_of_every_token():
    """Ratios 1.5 and 0.5, bounded above by 1.28: weights 1.28 and 0.5, of log p."""
    method = method_of("cispo", clip_high=0.28)
    sums, loss, gradient = value_and_gradient(method, [[[UP, DOWN]]], [[[1, 1]]], [[2.0]], [[[0.0, 0.0]]])
    assert loss == pytest.approx(-2 * (1.28 * UP + 0.5 * DOWN) / 2)
    assert gradient.flatten().tolist() == pytest.approx([-2 * 1.28 / 2, -2 * 0.5 / 2])
    assert sums.clipped == 1


@pytest.mark.parametrize(
    ("loss_mean", "weights"),
    [
        ("tokens", [1 / 3, 1 / 3, 1 / 3, 0]),  # three tokens
        ("sequences", [1 / 4, 1 / 4, 1 / 2, 0]),  # two completions, of two tokens and of one
        (2, [1 / 3, 1 / 3, 1 / 3, 0]),  # the two neighbours together
        (1, [1 / 4, 1 / 4, 1 / 2, 0]),
        ("constant", [1 / 16, 1 / 16, 1 / 16, 0]),  # two completions of at most eight
    ],
)
def test_the_mean_of_a_step_is_over_what_it_says(loss_mean, weights):
    method = method_of("grpo", loss_mean=loss_mean, sampling={"max_tokens": 8})
    _, _, gradient = value_and_gradient(
        method, [[[-1.0, -2.0], [-3.0, 0.0]]], [[[1, 1], [1, 0]]], [[1.0, 1.0]], None
    )
    assert (-gradient).flatten().tolist() == pytest.approx(weights)


def test_dr_grpo_is_grpo_without_deviation_and_length():
    method = method_of("dr_grpo", sampling={"max_tokens": 8})
    assert (method.normalise_std, method.loss_mean) == (False, "constant")
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert method.advantages(rewards, None).tolist() == [[0.75, -0.25, -0.25, -0.25]]


def test_dft_weighs_tokens_by_their_probability():
    """Loss p log p with p held fixed: the gradient of a token is minus its probability."""
    objective = Likelihood(sft(loss="dft"), {})
    policy = Scripted([[[math.log(0.5), math.log(0.1)]]])
    sums = objective.loss(policy, scripted_groups([[[1, 1]]], [[1.0]]))
    sums.loss.backward()
    assert sums.loss.item() == pytest.approx(-(0.5 * math.log(0.5) + 0.1 * math.log(0.1)))
    assert policy.logprobs.grad.flatten().tolist() == pytest.approx([-0.5, -0.1])


@pytest.mark.parametrize(("alpha", "way"), [(1.0, "packed"), (2.0, "plain")])
def test_eaft_weighs_tokens_by_the_entropy_of_the_likeliest(alpha, way):
    """Of each token Σ over the batch, from whole distributions: the 20 largest as one of their own."""
    policy = Policy.load("embedded", ModelSettings())
    policy.way, policy.tried.packed = way, True
    objective = Likelihood(sft(loss="eaft", eaft_alpha=alpha), TEMPLATES["embedded"])
    groups = objective.collect(policy, items_of("photos", 4), ())
    all_TV = policy.distributions(groups.prompts, groups.completions)
    targets_T = groups.completions.tokens_BGR[groups.completions.mask_BGR]
    top_TK = all_TV.detach().sort(descending=True).values[:, :20].exp()
    top_TK /= top_TK.sum(-1, keepdim=True)
    weight_T = (-(top_TK * top_TK.log()).sum(-1) / math.log(20)) ** alpha
    assert 0 < weight_T.min() < weight_T.max() <= 1
    wanted = -(weight_T * all_TV.gather(1, targets_T[:, None])[:, 0]).sum()
    sums = objective.loss(policy, groups)
    assert sums.loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    parameters = trained_parameters(policy)
    torch.testing.assert_close(flat(sums.loss, parameters), flat(wanted, parameters), rtol=1e-3, atol=1e-4)


def test_the_entropy_of_the_likeliest_by_hand():
    """Of ½, ¼ and ¼ the first two are ⅔ and ⅓; a banned id is none of them, and half precision is exact."""
    logits_TV = torch.tensor([[0.5, 0.25, 0.25, 9.0], [1.0, 1.0, 1.0, 1.0]]).log().bfloat16()
    banned_V = torch.tensor([False, False, False, True])
    found = logprobs.top_entropy(logits_TV, banned_V, 1.0, 2)
    wanted = [-(2 / 3) * math.log(2 / 3) - math.log(1 / 3) / 3, math.log(2)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-2)
    assert logprobs.top_entropy(logits_TV, banned_V, 1.0, 20)[1].item() == pytest.approx(
        math.log(3), rel=1e-3
    )


def test_eaft_is_another_job_and_others_are_not():
    assert "loss" not in sft().determining(["a"])
    kept = sft(loss="eaft").determining(["a"])
    assert kept["loss"] == "eaft" and "eaft_alpha" not in kept
    assert sft(loss="eaft", eaft_alpha=2.0).determining(["a"])["eaft_alpha"] == 2
    assert sft(eaft_alpha=2.0).determining(["a"]) == sft().determining(["a"])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"objective": "sft", "eaft_alpha": 2.0}, "is about loss: eaft, and no method has it"),
        ({"objective": "sdft", "rho": 0.5, "rho_ramp": 0.5}, "is about rho_start, and no method has it"),
    ],
)
def test_settings_of_what_no_method_does_are_refused(tmp_path, method, message):
    with pytest.raises(InputError, match=message):
        make_experiment(tmp_path, methods={"a": method})


def test_dapo_fills_its_batch_with_prompts_that_teach():
    policy, items = Policy.load("embedded", ModelSettings()), items_of("counting", 24)
    method = method_of("dapo", batch=8, refills=4)
    objective = PolicyGradient(method, TEMPLATES["embedded"], None, items)
    groups = objective.collect(policy, items[:8], ("stream",))
    assert not zero_variance(groups.advantages_BG).any()
    assert len(groups.items) == len(groups.prompts) == 8
    assert groups.stats["drawn"] > 1
    assert groups.spent.completions == 8 * 4 * groups.stats["drawn"]  # what was thrown away was paid for
    again = objective.collect(policy, items[:8], ("stream",))
    assert torch.equal(again.completions.tokens_BGR, groups.completions.tokens_BGR)
    # What was sampled has the log-probabilities that learning finds, whichever draw it is from.
    found = policy.group_logprobs(groups.prompts, groups.completions).logprobs_BGR
    mask = groups.completions.mask_BGR
    torch.testing.assert_close(found[mask], groups.completions.logprobs_BGR[mask], rtol=0, atol=1e-4)
    few = PolicyGradient(method_of("dapo", batch=8, refills=0), TEMPLATES["embedded"], None, items)
    drawn = few.chosen(few.collect(policy, items[:8], ("stream",)))
    assert 0 < len(drawn.items) < 8


def test_dapo_goes_on_where_no_prompt_teaches(tmp_path: Path) -> None:
    """Answers of one token, which are never right."""
    policy, items = Policy.load("embedded", ModelSettings()), items_of("counting", 8)
    before = [one.detach().clone() for one in policy.model.parameters()]
    method = method_of("dapo", batch=4, refills=1, sampling={"max_tokens": 1}, weight_decay=0.0)
    train(policy, method, tmp_path, 2, items)
    assert all(torch.equal(a, b) for a, b in zip(before, policy.model.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["dapo", "dr_grpo", "gspo", "cispo"])
def test_every_variant_trains(objective, tmp_path: Path):
    policy = Policy.load("embedded", ModelSettings())
    method = method_of(objective, updates=2, learning_rate=1e-4)
    before = [one.detach().clone() for one in policy.model.parameters()]
    train(policy, method, tmp_path, 2, items_of("counting", 16))
    assert any(not torch.equal(a, b) for a, b in zip(before, policy.model.parameters(), strict=True))


def test_what_is_not_used_leaves_no_trace_in_the_fingerprint():
    plain = method_of("grpo")
    assert {"loss_mean", "refills", "loss"}.isdisjoint(plain.determining(["one"]))
    assert method_of("grpo", loss_mean="sequences").determining(["one"])["loss_mean"] == "sequences"
    assert "loss" not in sft().determining(["one"])


def test_what_a_rule_has_on_by_itself_counts_where_it_is_off():
    """Else equal work: all of these were one job, with the results of whichever came first."""
    found = [
        method_of("dapo", **changes).determining(["one"])
        for changes in ({}, {"refills": 0}, {"refills": 0, "drop_zero_variance": False}, {"refills": 3})
    ]
    assert all(one not in found[:place] for place, one in enumerate(found))
    assert method_of("dapo", refills=9, drop_zero_variance=True).determining(["one"]) == found[0]


def test_refills_without_prompts_that_leave_are_refused():
    with pytest.raises(ValueError, match="drop_zero_variance: true"):
        method_of("grpo", refills=2)
    with pytest.raises(ValueError, match="dual_clip"):
        method_of("gspo", dual_clip=3.0)
    with pytest.raises(InputError, match="gspo"):
        method_of("gsp")
