"""The learning loop: hand-worked losses, exact micro-batches, exact resume, guards, filters."""

import math
import shutil
from types import SimpleNamespace

import pytest
import torch

from holdfast.errors import HoldfastError
from holdfast.files import read_jsonl
from holdfast.generate.generator import Answers
from holdfast.generate.local import LocalGenerator
from holdfast.learning.filters import pass_rates, select
from holdfast.learning.groups import Groups
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.loop import learn, pick
from holdfast.learning.methods import make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.policygradient import PolicyGradient
from holdfast.learning.schedule import learning_rate
from holdfast.learning.stage import Stage
from holdfast.learning.step import step
from holdfast.policy.batch import Completions, GroupLogprobs
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES

SHORT = Sampling(max_tokens=16)


def grpo(**changes):
    return make_method(
        **{"objective": "grpo", "learning_rate": 1e-3, "batch": 4, "group_size": 4, "sampling": SHORT}
        | changes
    )


def sft(**changes):
    return make_method(**{"objective": "sft", "learning_rate": 1e-3, "batch": 8} | changes)


def items_of(name, count):
    return [(TASKS[name], example) for example in TASKS[name].examples("train", count)]


def train(policy, method, folder, iterations, items, on_step=lambda *_: None, checkpoint_every=2):
    stage = stage_of(policy, method, items, iterations)
    return learn(stage, folder=folder, checkpoint_every=checkpoint_every, on_step=on_step)[0]


def stage_of(policy, method, items, iterations, **changes):
    return Stage(
        **{
            "policy": policy,
            "items": items,
            "method": method,
            "iterations": iterations,
            "templates": TEMPLATES["embedded"],
            "stream": ("test",),
            "load_base": lambda: Policy.load("embedded", ModelSettings()),
        }
        | changes
    )


def weights(policy):
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


class Scripted:
    """A policy whose log-probabilities are given."""

    def __init__(self, logprobs_BGR):
        self.logprobs = torch.tensor(logprobs_BGR, requires_grad=True)
        self.device = "cpu"

    def group_logprobs(self, prompts, completions, temperature=1.0, prefilled=None, top=None):
        return GroupLogprobs(self.logprobs, torch.zeros_like(self.logprobs))


def scripted_groups(mask, advantages, old=None, reference=None):
    mask = torch.tensor(mask, dtype=torch.bool)
    completions = Completions(
        torch.zeros(mask.shape, dtype=torch.long), mask, torch.ones(mask.shape[:2], dtype=torch.bool)
    )
    tensor = lambda values: None if values is None else torch.tensor(values)  # noqa: E731
    return Groups([0] * len(mask), completions, torch.tensor(advantages), tensor(old), tensor(reference))


def test_policy_gradient_of_one_on_policy_step():
    """The ratio is 1, so the gradient of a token is minus its advantage."""
    policy = Scripted([[[-1.0, -2.0], [-0.5, 9.0]]])
    groups = scripted_groups([[[1, 1], [1, 0]]], [[0.5, -2.0]])
    sums = PolicyGradient(grpo(), {}, None).loss(policy, groups)
    sums.loss.backward()
    assert sums.loss.item() == pytest.approx(-0.5 - 0.5 + 2.0)
    assert torch.allclose(policy.logprobs.grad, torch.tensor([[[-0.5, -0.5], [2.0, 0.0]]]))


def test_clipping_bounds_are_separate_and_one_sided():
    """Ratios 1.5 and 0.5: only a push further out of [0.8, 1.3] is cut."""
    up, down = math.log(1.5), math.log(0.5)
    policy = Scripted([[[up], [down], [up], [down]]])
    groups = scripted_groups(
        [[[1], [1], [1], [1]]], [[1.0, 1.0, -1.0, -1.0]], old=[[[0.0], [0.0], [0.0], [0.0]]]
    )
    sums = PolicyGradient(grpo(), {}, None).loss(policy, groups)
    sums.loss.backward()
    assert sums.loss.item() == pytest.approx(-(1.3 + 0.5 - 1.5 - 0.8), abs=1e-6)
    assert sums.clipped == 2
    assert policy.logprobs.grad.flatten().tolist() == pytest.approx([0.0, -0.5, 1.5, 0.0], abs=1e-6)


def test_the_token_mean_may_be_one_of_means_over_a_few_completions():
    """Completions of 1, 3, 2 and 2 tokens, two at a time.

    Means over 4 tokens each, then of the two: a token counts 1/8, as in the mean over all 8. With three at
    a time they are means over 6 and over 2 tokens: 1/12 and 1/4.
    """
    mask = [[[1, 0, 0], [1, 1, 1]], [[1, 1, 0], [1, 1, 0]]]
    groups = scripted_groups(mask, [[1.0, 2.0], [3.0, 4.0]])
    assert groups.averaged_over(2).token_weights_BG.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    weighed = groups.averaged_over(3)
    assert torch.allclose(weighed.token_weights_BG, torch.tensor([[8 / 12, 8 / 12], [8 / 12, 8 / 4]]))
    policy = Scripted(torch.zeros(2, 2, 3).tolist())
    sums = PolicyGradient(grpo(), {}, None).loss(policy, weighed)
    (sums.loss / 8).backward()
    means = [(1 * 1 + 3 * 2 + 2 * 3) / 6, (2 * 4) / 2]
    assert sums.loss.item() / 8 == pytest.approx(-sum(means) / 2)
    by_hand = torch.tensor(mask) * torch.tensor([[-1 / 12, -2 / 12], [-3 / 12, -4 / 4]]).unsqueeze(-1)
    assert torch.allclose(policy.logprobs.grad, by_hand)


def test_a_penalty_is_averaged_as_the_surrogate_is():
    """A reference e times as likely: k3 is e - 2 for each of 1 and 3 tokens, and so is the mean of means."""
    groups = scripted_groups([[[1, 0, 0], [1, 1, 1]]], [[0.0, 0.0]], reference=torch.ones(1, 2, 3).tolist())
    sums = PolicyGradient(grpo(kl_coef=0.5), {}, None).loss(
        Scripted(torch.zeros(1, 2, 3).tolist()), groups.averaged_over(1)
    )
    assert sums.loss.item() / 4 == pytest.approx(0.5 * (math.e - 2))
    assert sums.kl / 4 == pytest.approx(math.e - 2)


def test_a_dual_clip_bounds_what_a_bad_completion_costs():
    """Ratios 5 and 2: at advantage -1 they cost 5 and 2, of which the bound cuts the first to 3."""

    def loss(advantage, **changes):
        policy = Scripted([[[math.log(5.0), math.log(2.0)]]])
        groups = scripted_groups([[[1, 1]]], [[advantage]], old=[[[0.0, 0.0]]])
        sums = PolicyGradient(grpo(**changes), {}, None).loss(policy, groups)
        sums.loss.backward()
        return sums.loss.item(), policy.logprobs.grad.flatten().tolist()

    value, gradient = loss(-1.0, dual_clip=3.0)
    assert value == pytest.approx(3.0 + 2.0)
    assert gradient == pytest.approx([0.0, 2.0])
    assert loss(-1.0)[0] == pytest.approx(5.0 + 2.0)
    assert loss(1.0, dual_clip=3.0) == loss(1.0)


def test_a_token_far_from_the_reference_counts_for_ten_and_pulls_no_more():
    """log ref - log pi of 2, 5, 800 and -12: k3 is 4.389, then over 10 and clamped, and 11 clamped, too."""
    policy = Scripted([[[-2.0, -5.0, -800.0, 12.0]]])
    groups = scripted_groups([[[1, 1, 1, 1]]], [[0.0]], reference=[[[0.0, 0.0, 0.0, 0.0]]])
    sums = PolicyGradient(grpo(kl_coef=1.0), {}, None).loss(policy, groups)
    sums.loss.backward()
    assert sums.kl == pytest.approx(math.exp(2) - 3 + 10 + 10 + 10, rel=1e-6)
    assert policy.logprobs.grad.flatten().tolist() == pytest.approx([1 - math.exp(2), 0, 0, 0], rel=1e-6)


def test_k3_divergence_by_hand():
    """log pi = -1, log ref = -1.5: exp(-0.5) + 0.5 - 1."""
    policy = Scripted([[[-1.0], [-1.0]]])
    groups = scripted_groups([[[1], [1]]], [[0.0, 0.0]], reference=[[[-1.5], [-1.0]]])
    sums = PolicyGradient(grpo(kl_coef=0.1), {}, None).loss(policy, groups)
    expected = math.exp(-0.5) + 0.5 - 1
    assert sums.kl == pytest.approx(expected)
    assert sums.loss.item() == pytest.approx(0.1 * expected)


def test_sft_is_the_negative_log_likelihood():
    policy = Scripted([[[-1.0, -2.0]], [[-0.5, 7.0]]])
    groups = scripted_groups([[[1, 1]], [[1, 0]]], [[1.0], [1.0]])
    assert Likelihood(sft(), {}).loss(policy, groups).loss.item() == pytest.approx(3.5)


@pytest.mark.slow
@pytest.mark.parametrize("method", [sft(), grpo(), grpo(loss_mean=4)], ids=["sft", "grpo", "of means"])
def test_micro_batches_do_not_change_a_step(method, tmp_path):
    items = items_of("tissue", 8)
    results = []
    for micro_batch in (None, 3):
        policy = Policy.load("embedded", ModelSettings())
        train(
            policy,
            method.model_copy(update={"micro_batch": micro_batch}),
            tmp_path / str(micro_batch),
            1,
            items,
        )
        results.append(weights(policy))
    moved = max((results[0][name] - results[1][name]).abs().max().item() for name in results[0])
    assert (
        moved < 2e-4
    )  # AdamW's first step is learning_rate · sign: rounding shows where a gradient is near zero


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "dtype"),
    [
        (sft(), "float32"),
        (grpo(updates=2, kl_coef=0.05), "float32"),
        (grpo(objective="remax"), "float32"),
        (grpo(updates=2, micro_batch=2, kl_coef=0.05, optimizer_state="float32"), "bfloat16"),
        *((sft(optimizer_state=state, micro_batch=3), "bfloat16") for state in ("compact", "kahan")),
    ],
    ids=["sft", "grpo", "remax", "bfloat16", "compact", "kahan"],
)
def test_a_killed_stage_resumes_to_the_same_bits(method, dtype, tmp_path, caplog):
    items, settings = items_of("photos", 16), ModelSettings(dtype=dtype)
    whole = Policy.load("embedded", settings)

    def on_step(done, total, row):
        if done == 4:  # after the checkpoint at 3: a kill would leave this, and have the step done again
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")

    train(whole, method, tmp_path / "whole" / "work", 5, items, on_step=on_step, checkpoint_every=3)
    resumed = Policy.load("embedded", settings)
    train(resumed, method, tmp_path / "killed" / "work", 5, items)
    assert not caplog.messages  # the checkpoint was taken up

    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    logs = [read_jsonl(tmp_path / folder / "work/metrics.jsonl") for folder in ("whole", "killed")]
    timing = ("seconds", "tokens_per_s")
    strip = [[{key: value for key, value in row.items() if key not in timing} for row in log] for log in logs]
    assert strip[0] == strip[1] and len(strip[0]) == 5


@pytest.mark.slow
def test_training_does_what_it_is_for(tmp_path):
    items = items_of("photos", 64)
    policy = Policy.load("embedded", ModelSettings())
    train(policy, sft(batch=16), tmp_path / "sft", 8, items)
    losses = [row["loss"] for row in read_jsonl(tmp_path / "sft" / "metrics.jsonl")]
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    policy = Policy.load("embedded", ModelSettings())
    train(policy, grpo(batch=8, group_size=8), tmp_path / "grpo", 7, items)
    rewards = [row["reward"] for row in read_jsonl(tmp_path / "grpo" / "metrics.jsonl")]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.1


def test_groups_without_variance_leave_the_weights_alone(tmp_path):
    """Zero advantage everywhere is a zero gradient, and AdamW without decay then does not move."""
    policy = Policy.load("embedded", ModelSettings())
    before = weights(policy)
    objective = PolicyGradient(grpo(weight_decay=0.0), TEMPLATES["embedded"], None)
    groups = objective.collect(policy, items_of("photos", 4), ("zero",))
    groups = Groups(groups.prompts, groups.completions, torch.zeros_like(groups.advantages_BG))
    method = grpo(weight_decay=0.0)
    row = step(policy, objective, make_optimizer(policy.model, method), groups, method, 1e-3)
    assert row["grad_norm"] == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(policy).items())


def test_a_step_with_a_broken_gradient_is_skipped_and_said():
    policy = Policy.load("embedded", ModelSettings())
    before = weights(policy)
    method = sft()
    parameter = next(policy.model.parameters())
    broken = SimpleNamespace(
        weighed=lambda groups: groups,
        teaching=lambda groups: [0, 1],
        loss=lambda policy, part: SimpleNamespace(
            loss=parameter.sum() * math.nan, entropy=0.0, kl=0.0, clipped=0.0
        ),
    )
    groups = Likelihood(method, TEMPLATES["embedded"]).collect(policy, items_of("facts", 2), ())
    row = step(policy, broken, make_optimizer(policy.model, method), groups, method, 1e-3)
    assert row["skipped"] == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(policy).items())


def test_skips_in_a_row_are_counted_across_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.learning.loop.step", lambda *_: {"loss": 0.0, "skipped": 1.0})
    items, policy = items_of("facts", 8), Policy.load("embedded", ModelSettings())

    def die(done, total, row):
        if done == 2:
            raise KeyboardInterrupt

    left_over = tmp_path / ".checkpoint.abc"  # of a checkpoint half written
    left_over.mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(policy, sft(), tmp_path, 9, items, on_step=die)
    assert not left_over.exists()
    with pytest.raises(HoldfastError, match=r"3 iterations in a row \(last: 2\)"):
        train(policy, sft(), tmp_path, 9, items, checkpoint_every=1)


def test_a_step_that_is_skipped_counts_in_no_mean(tmp_path, monkeypatch):
    steps = iter([{"loss": 0.5, "kept": 1.0, "skipped": 0.0}, {"loss": 0.0, "skipped": 1.0}] * 2)
    monkeypatch.setattr("holdfast.learning.loop.step", lambda *_: next(steps))
    train(Policy.load("embedded", ModelSettings()), sft(updates=2), tmp_path, 2, items_of("facts", 8))
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert [(row["loss"], row["kept"], row["skipped"]) for row in rows] == [(0.5, 1.0, 0.5)] * 2


def test_batches_go_through_epochs_without_replacement():
    items = list(range(10))
    seen = [item for iteration in range(5) for item in pick(items, 4, iteration, ("order",))]
    assert sorted(seen[:10]) == items and sorted(seen[10:20]) == items
    assert seen[:10] != seen[10:20]
    assert pick([1], 3, 0, ()) == [1, 1, 1]


def test_schedules():
    constant = grpo(learning_rate=1.0, warmup=0.2)
    assert [learning_rate(constant, step, 10) for step in (0, 1, 2, 9)] == [0.5, 1.0, 1.0, 1.0]
    cosine = grpo(learning_rate=1.0, schedule="cosine")
    assert learning_rate(cosine, 0, 10) == 1.0
    assert learning_rate(cosine, 5, 10) == pytest.approx(0.5)
    assert learning_rate(cosine, 9, 10) == pytest.approx(0.5 * (1 + math.cos(0.9 * math.pi)))


def test_filters_look_at_pass_rates():
    rows = [{"correct": correct, "samples": 8} for correct in (0, 3, 8, 0, 1)]
    assert select("none", rows, ()) == [0, 1, 2, 3, 4]
    assert select("rif", rows, ()) == [1, 2, 4]
    assert select("rif_strict", rows, ()) == [1, 4]
    matched = select("random_matched", rows, ("seed",))
    assert len(matched) == 3 and matched == select("random_matched", rows, ("seed",))
    with pytest.raises(HoldfastError, match=r"keeps none of 1 .* none of them right in 8 tries"):
        select("rif", rows[:1], ())
    with pytest.raises(HoldfastError, match="the policy answers each of them always or never right"):
        select("rif_strict", [rows[0], rows[2]], ())


def test_three_filters_keep_equally_many_as_the_release_does():
    """Right: 1, 2, 4, 5; never right: 0, 3. So two of each, and two of all."""
    rows = [{"correct": correct, "samples": 8} for correct in (0, 3, 8, 0, 1, 2)]
    names = ("rif_equal", "unsolvable_equal", "random_equal")
    solvable, unsolvable, mixed = (select(name, rows, ("seed",)) for name in names)
    assert len(solvable) == len(mixed) == 2 and set(solvable) < {1, 2, 4, 5} and unsolvable == [0, 3]
    seen = {tuple(select("rif_equal", rows, (seed,))) for seed in range(40)}
    assert len(seen) == 6  # every pair of four
    many = [{"correct": place % 2, "samples": 8} for place in range(2 * 7501)]
    assert all(len(select(name, many, ())) == 7500 for name in names)
    with pytest.raises(HoldfastError, match="each of them right at least once, or none"):
        select("random_equal", rows[1:3], ())


def test_pass_rates_are_counted_per_example():
    policy = Policy.load("embedded", ModelSettings())
    items = items_of("photos", 6)
    rows = pass_rates(
        LocalGenerator(policy),
        items,
        grpo(filter="rif", filter_samples=4, micro_batch=4),
        templates=TEMPLATES["embedded"],
        stream=("rif",),
        on_step=lambda *_: None,
    )
    assert [row["id"] for row in rows] == [example.id for _, example in items]
    assert all(0 <= row["correct"] <= row["samples"] == 4 for row in rows)


class Backwards:
    """A sampler from outside the package: right every second time, the last question first."""

    def generate(self, questions, group, sampling, stream):
        for place in reversed(range(len(questions))):
            answer = questions[place].example.answer
            said = [f"\\boxed{{{answer if member % 2 else 'no'}}}" for member in range(group)]
            yield Answers([place], [said], [[None] * group], [[True] * group])


def test_filters_take_any_sampler():
    method = grpo(filter="rif", filter_samples=5, micro_batch=4)
    rows = pass_rates(
        Backwards(),
        items_of("photos", 6),
        method,
        templates=TEMPLATES["embedded"],
        stream=("rif",),
        on_step=lambda *_: None,
    )
    assert [row["id"] for row in rows] == [example.id for _, example in items_of("photos", 6)]
    assert {(row["correct"], row["samples"]) for row in rows} == {(2, 5)}
    assert not any("flops" in row for row in rows)  # nobody said what sampling took
