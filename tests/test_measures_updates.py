"""Fisher information, gradients and the variance identity, against closed forms and the learning loop."""

import math
from dataclasses import replace

import pytest
import torch

from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import encode_items, roll_out
from holdfast.learning import advantages
from holdfast.learning.groups import Groups
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.methods import make_method
from holdfast.learning.policygradient import PolicyGradient
from holdfast.measures.updates import estimator_risks, right_answers, risks
from holdfast.policy.batch import Completions
from holdfast.policy.gradients import (
    completion_gradients,
    fisher_diagonal,
    flat,
    forgetting_risk,
    mean_gradient,
    trained_parameters,
)
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from holdfast.tasks.prompts import TEMPLATES as ALL_TEMPLATES
from measures_helpers import (
    TEMPLATES,
    assert_untouched,
    embedded_items,
    state,
    token_ids,
    two_token_policy,
    word_items,
)

COT = ALL_TEMPLATES["embedded"]
SAMPLING = Sampling(max_tokens=16)


ASKING = Asking("cot", COT, SAMPLING, ("test",), batch=16)


def grpo(**changes):
    return make_method(
        **{"objective": "grpo", "learning_rate": 1e-3, "group_size": 4, "sampling": SAMPLING} | changes
    )


def embedded(**settings):
    policy = Policy.load("embedded", ModelSettings(**settings))
    policy.model.double()
    return policy


def measured(policy, samples=4, micro_batch=None, **changes):
    return risks(
        policy,
        embedded_items("photos", 2) + embedded_items("reading", 1),
        embedded_items("measures", 2),
        replace(ASKING, **changes),
        samples=samples,
        micro_batch=micro_batch,
    )


def one_token_completions(ids):
    tokens = torch.tensor(ids)[None, :, None]
    return Completions(tokens, torch.ones_like(tokens).bool(), torch.ones(1, len(ids)).bool())


def close(one, two):
    """Up to rounding: transformers' norms compute in float32 whatever the model's dtype."""
    return (one - two).norm() < 1e-5 * two.norm()


@pytest.fixture(scope="module")
def made():
    return measured(embedded())


def set_odds(policy, prompts, odds):
    """Make END `odds` times as likely as WORD after the one prompt; the last hidden state there."""
    word, end = token_ids(policy)
    head = policy.model.get_output_embeddings().weight
    kept = []
    hook = policy.model.get_output_embeddings().register_forward_pre_hook(
        lambda module, inputs: kept.append(inputs[0])
    )
    policy.group_distributions(prompts, one_token_completions([word]))
    hook.remove()
    hidden = kept[-1][-1]
    with torch.no_grad():
        head[word] = 0
        head[end] = hidden * math.log(odds) / (hidden @ hidden)
    return hidden


def test_fisher_is_the_closed_form(tmp_path):
    """Two tokens, p = 1/4 and 3/4: p (1 − p) h² for their rows of the head, g² p / (1 − p) anywhere."""
    policy = two_token_policy(tmp_path)
    word, end = token_ids(policy)
    prompts = encode_items(policy, word_items(1), "direct", TEMPLATES)
    hidden = set_odds(policy, prompts, odds=3.0)
    enumerated = one_token_completions([end, word, end, end])
    fisher = fisher_diagonal(policy, prompts, enumerated, 1.0)
    rows = [number for number, p in enumerate(trained_parameters(policy)) if p is policy.model.lm_head.weight]
    start = sum(p.numel() for p in trained_parameters(policy)[: rows[0]])
    head = fisher[start : start + policy.model.lm_head.weight.numel()].view_as(policy.model.lm_head.weight)
    for token in (word, end):
        assert torch.allclose(head[token], 3 / 16 * hidden.square(), rtol=1e-9)
    assert head[[row for row in range(len(head)) if row not in (word, end)]].abs().max() == 0
    (_, of_word), (_, of_end) = completion_gradients(policy, prompts, one_token_completions([word, end]), 1.0)
    assert close(of_end, -of_word / 3)
    assert close(fisher, of_word.square() / 3)
    assert fisher.norm() > 1e-3


def test_fisher_of_samples_is_right_in_expectation(tmp_path):
    policy = two_token_policy(tmp_path)
    prompts = encode_items(policy, word_items(1), "direct", TEMPLATES)
    set_odds(policy, prompts, odds=3.0)
    word, _ = token_ids(policy)
    drawn = policy.sample(prompts, 2000, Sampling(max_tokens=1), torch.Generator().manual_seed(0))
    (_, of_word), *_ = completion_gradients(policy, prompts, one_token_completions([word]), 1.0)
    ratio = (fisher_diagonal(policy, prompts, drawn, 1.0).sum() / (of_word.square() / 3).sum()).item()
    # a draw's share of the sum is 3 or 1/3 with probability 1/4 and 3/4: standard deviation 1.15
    assert abs(ratio - 1) < 4 * 1.155 / 2000**0.5


def test_fisher_is_the_mean_over_prompts(tmp_path):
    policy = two_token_policy(tmp_path)
    prompts = encode_items(policy, word_items(3), "direct", TEMPLATES)
    drawn = policy.sample(prompts, 2, Sampling(max_tokens=2), torch.Generator().manual_seed(0))
    each = [
        fisher_diagonal(policy, prompts.select([row]), drawn.select([row]).columns([member]), 1.0)
        for row in range(3)
        for member in range(2)
    ]
    assert close(fisher_diagonal(policy, prompts, drawn, 1.0), sum(each) / 6)


def bandit(probabilities, draws):
    """∇ log p(a) = e_a − p of a softmax over arms, for a group in which arm a stands `draws[a]` times."""
    p = torch.tensor(probabilities).double()
    start, gradients = 0, []
    for arm, count in enumerate(draws):
        gradients.append((list(range(start, start + count)), torch.eye(len(p)).double()[arm] - p))
        start += count
    return gradients


@pytest.mark.parametrize("rewards", [[0, 0, 0, 1], [0, 1, 0, 1], [0.1, 0.9, 0.3, 0.35], [1, 1, 1, 1]])
def test_the_variance_identity_holds_on_a_uniform_bandit(rewards):
    """There R(∇ log p(a)) is one number whatever the arm, so E[A² R] = Var[r] · R(SFT) exactly."""
    rewards = torch.tensor(rewards).double()
    gradients = bandit([0.25] * 4, [1] * 4)
    fisher, keep = torch.full((4,), 2.0).double(), torch.arange(4.0).double()
    row = estimator_risks(gradients, rewards, fisher, keep)
    sft = forgetting_risk(gradients[0][1], fisher)
    assert sft == pytest.approx(2 * 3 / 4)
    variance = rewards.var(correction=0).item()
    assert row["reward_variance"] == pytest.approx(variance) and variance <= 0.25
    assert row["risk_rft"] == pytest.approx(variance * sft, rel=1e-12)
    # Σ_a A_a / 4 · (e_a − 1/4) = A / 4: the group's own gradient
    advantage = rewards - rewards.mean()
    assert row["risk_group"] == pytest.approx(2 * variance / 4, rel=1e-12)
    assert row["norm_group"] == pytest.approx((advantage / 4).norm().item())
    assert row["effect_group"] == pytest.approx((advantage / 4 @ keep).item(), abs=1e-12)
    # Divided by the standard deviation (of 3 degrees of freedom) the variance is gone.
    assert row["risk_rft_std"] == pytest.approx(0.75 * sft if variance else 0, rel=1e-4)


def test_the_variance_identity_fails_by_a_known_factor_where_arms_differ():
    """Two arms, p = 1/4 and 3/4, the rare one right: E[A² R] is (27 + 1)/36 of Var[r] · R(SFT)."""
    gradients = bandit([0.25, 0.75], [1, 3])
    row = estimator_risks(
        gradients, torch.tensor([1.0, 0, 0, 0]), torch.ones(2).double(), torch.zeros(2).double()
    )
    bound = row["reward_variance"] * forgetting_risk(gradients[0][1], torch.ones(2).double())
    assert row["risk_rft"] == pytest.approx(28 / 36 * bound)


def test_the_variance_identity_holds_for_a_policy_of_two_equal_tokens(tmp_path):
    """Sampled and graded by the real pipeline; both gradients are then opposite, and R is one number."""
    policy = two_token_policy(tmp_path)
    with torch.no_grad():
        head = policy.model.get_output_embeddings().weight
        head[token_ids(policy)[0]] = head[token_ids(policy)[1]]
    asking = Asking("direct", TEMPLATES, Sampling(max_tokens=1), ("even",), batch=16)
    made = risks(policy, word_items(3), word_items(6), asking, samples=8)
    assert {row["pass_rate"] for row in made["instances"]} - {0.0, 1.0}
    for row in made["instances"]:
        assert row["reward_mean"] == row["pass_rate"]
        assert row["reward_variance"] == pytest.approx(row["pass_rate"] * (1 - row["pass_rate"]))
        assert row["risk_rft"] == pytest.approx(row["reward_variance"] * row["risk_sampled"], rel=1e-5)
        assert row["risk_rft_std"] == pytest.approx(7 / 8 * row["risk_sampled"], rel=1e-4)
        assert row["risk_sft_reasoned"] is None and row["risk_sft_answer"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("normalise_std", [True, False])
def test_gradients_are_those_of_the_loops_loss(normalise_std):
    policy = embedded()
    method, items = grpo(normalise_std=normalise_std), embedded_items("measures", 1)
    objective = PolicyGradient(method, COT, None)
    groups = objective.collect(policy, items, ("loop",))
    assert groups.advantages_BG.abs().max() > 0
    parameters = trained_parameters(policy)
    loops = -flat(objective.loss(policy, groups).loss, parameters) / method.group_size
    ours = torch.zeros_like(loops)
    gradients = list(completion_gradients(policy, groups.prompts, groups.completions, 1.0))
    assert sorted(index for who, _ in gradients for index in who) == list(range(method.group_size))
    for who, gradient in gradients:
        ours += groups.advantages_BG[0, who].sum() * gradient / method.group_size
    assert close(ours, loops)

    supervised = Likelihood(make_method(objective="sft", learning_rate=1e-3, target="reasoned"), COT)
    groups = supervised.collect(policy, items, ())
    ((_, gradient),) = completion_gradients(policy, groups.prompts, groups.completions, 1.0)
    assert close(gradient, -flat(supervised.loss(policy, groups).loss, parameters))


@pytest.mark.slow
def test_rows_are_of_the_loops_gradients(made):
    """Norms and risks of a whole run, from the loss that the loop would step on."""
    policy, items = embedded(), embedded_items("measures", 2)
    parameters = trained_parameters(policy)
    rollouts = roll_out(policy, items, ASKING.at("new", 0), 4)
    for index, row in enumerate(made["instances"]):
        rewards = rollouts.rewards_BG[index]
        with torch.enable_grad():
            logprobs = policy.group_logprobs(
                rollouts.prompts.select([index]), rollouts.completions.select([index])
            ).logprobs_BGR[0].sum(-1)  # fmt: skip
        gradient = flat(((rewards - rewards.mean()) * logprobs).mean(), parameters)
        assert row["reward_mean"] == pytest.approx(rewards.mean().item())
        assert row["norm_group"] == pytest.approx(gradient.norm().item(), rel=1e-6, abs=1e-9)
        for target in ("answer", "reasoned"):
            objective = Likelihood(make_method(objective="sft", learning_rate=1, target=target), COT)
            loss = objective.loss(policy, objective.collect(policy, items[index : index + 1], ())).loss
            assert row[f"norm_sft_{target}"] == pytest.approx(flat(loss, parameters).norm().item(), rel=1e-6)


@pytest.mark.slow
def test_effects_are_finite_differences(made):
    policy = embedded()
    before = state(policy)
    old, new = embedded_items("photos", 2) + embedded_items("reading", 1), embedded_items("measures", 2)
    rollouts = roll_out(policy, old, ASKING.at("old", 0), 4)
    answers, own = right_answers(policy, old, rollouts, "cot")
    assert own == made["old_right"]
    parameters = trained_parameters(policy)

    def kept():
        with torch.no_grad():
            return policy.group_logprobs(rollouts.prompts, answers).logprobs_BGR.sum().item() / len(old)

    def shift(gradient, size):
        with torch.no_grad():
            for parameter, part in zip(
                parameters, gradient.split([p.numel() for p in parameters]), strict=True
            ):
                parameter += size * part.view_as(parameter)

    updates = {}
    for target in ("answer", "reasoned"):
        objective = Likelihood(make_method(objective="sft", learning_rate=1, target=target), COT)
        loss = objective.loss(policy, objective.collect(policy, new[:1], ())).loss
        updates[f"sft_{target}"] = -flat(loss, parameters)
    groups = roll_out(policy, new, ASKING.at("new", 0), 4)
    mixed = int(groups.rewards_BG.std(1).argmax())
    for name, normalise_std in (("group", False), ("group_std", True)):
        advantages_BG = advantages.group_relative(groups.rewards_BG, normalise_std)
        parts = list(Groups(groups.prompts, groups.completions, advantages_BG).split(1))
        loss = PolicyGradient(grpo(), COT, None).loss(policy, parts[mixed]).loss
        updates[name] = -flat(loss, parameters) / 4
    rate = 5e-5
    for name, update in updates.items():
        shift(update, rate)
        up = kept()
        shift(update, -2 * rate)
        slope = (up - kept()) / (2 * rate)
        policy.model.load_state_dict(before)
        row = made["instances"][mixed if "group" in name else 0]
        assert row[f"effect_{name}"] == pytest.approx(slope, rel=5e-3) and slope != 0


def test_right_answers_are_the_policys_own_or_the_reference():
    policy = embedded()
    items = embedded_items("photos", 3)
    rollouts = roll_out(policy, items, replace(ASKING, stream=("right",)), 3)
    rollouts.scores_BG[:] = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    answers, own = right_answers(policy, items, rollouts, "cot")
    texts = [text for (text,) in policy.decode(answers)]
    assert own == 2 and texts[0] == rollouts.texts[0][1] and texts[2] == rollouts.texts[2][0]
    example = items[1][1]
    wanted = policy.encode_completions([f"<think>{example.rationale}</think>\\boxed{{{example.answer}}}"])
    assert texts[1] == policy.decode(wanted)[0][0] and example.rationale
    whole = mean_gradient(policy, rollouts.prompts, answers, 1.0, None)
    assert close(mean_gradient(policy, rollouts.prompts, answers, 1.0, 2), whole)


def test_nothing_is_touched_and_repeats_are_equal(made):
    policy = embedded()
    before = state(policy)
    assert measured(policy) == made
    assert_untouched(policy, before)
    assert made["old"] == 3 and made["samples"] == 4
    assert made["parameters"] == sum(parameter.numel() for parameter in policy.model.parameters())
    assert made["fisher_trace"] > 0 and len(made["instances"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("change", ["plain", "checkpointing", "parts"])
def test_other_ways_to_compute_give_the_same(change, made):
    policy = embedded(activation_checkpointing=change == "checkpointing")
    if change == "plain":
        policy.way = "plain"
    if change == "parts":
        policy.budget.tokens = 1
    other = measured(policy)
    assert not policy.model.training
    assert other["fisher_trace"] == pytest.approx(made["fisher_trace"], rel=1e-5)
    for one, two in zip(made["instances"], other["instances"], strict=True):
        names = [name for name in one if name not in ("task", "id")]
        assert [one[name] for name in names] == pytest.approx(
            [two[name] for name in names], rel=1e-4, abs=1e-7
        )


def test_adapters_alone_are_measured():
    pytest.importorskip("peft")
    policy = Policy.load("embedded", ModelSettings(lora=Lora(rank=2, alpha=4)))
    before = state(policy)
    made = measured(policy)
    assert (
        made["parameters"] == sum(p.numel() for p in policy.model.parameters() if p.requires_grad) < 100_000
    )
    assert made["fisher_trace"] > 0
    assert all(math.isfinite(row["risk_sft_answer"]) for row in made["instances"])
    assert_untouched(policy, before)
