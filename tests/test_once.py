"""Equal completions and beginnings are computed once, and prompts that teach nothing are not passed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from holdfast.generate import rollouts
from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import encode_items
from holdfast.learning.methods import GRPO
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.policygradient import PolicyGradient
from holdfast.learning.step import step, to_pass
from holdfast.policy.batch import Completions, NotFiniteError
from holdfast.policy.decoding import Decode
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.grading import grade
from holdfast.tasks.prompts import TEMPLATES
from test_learning import grpo, items_of

A, B, C = [5, 6, 0], [5, 7, 9], [5, 0, 0]  # 0 pads, and is a token, too


def completions_of(groups, lengths):
    tokens = torch.tensor(groups)
    mask = torch.arange(tokens.shape[2]) < torch.tensor(lengths)[..., None]
    return Completions(tokens, mask, torch.ones(mask.shape[:2], dtype=torch.bool))


def test_equal_members_are_found_by_their_tokens_and_lengths():
    groups = completions_of([[A, B, A, C], [C, C, C, C]], [[2, 3, 2, 2], [1, 1, 2, 1]])
    once, places = groups.distinct()
    assert places.tolist() == [[0, 1, 0, 2], [0, 0, 1, 0]]
    assert once.tokens_BGR[0].tolist() == [A, B, C] and once.mask_BGR.sum(-1).tolist() == [
        [2, 3, 2],
        [1, 2, 0],
    ]
    assert completions_of([[A, B], [B, C]], [[2, 3], [3, 1]]).distinct() is None
    assert completions_of([[A], [A]], [[2], [2]]).distinct() is None


@pytest.fixture(scope="module")
def policy():
    policy = Policy.load("embedded", ModelSettings())
    policy.model.double()
    return policy


@pytest.fixture(scope="module")
def groups(policy):
    """Of four prompts: one whose completions are equal, one whose differ, two between."""
    prompts = encode_items(policy, items_of("reading", 4), "cot", TEMPLATES["embedded"])
    drawn = policy.sample(
        prompts, 4, Sampling(max_tokens=12, temperature=1.5), torch.Generator().manual_seed(1)
    )
    chosen = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 0, 1], [2, 2, 1, 2]])
    rows = torch.arange(4)[:, None]
    return prompts, drawn._each(lambda tensor: tensor[rows, chosen])


def gradients_of(policy, logprobs_BGR):
    weights = torch.randn(logprobs_BGR.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    policy.model.zero_grad(set_to_none=True)
    (logprobs_BGR * weights).sum().backward()
    return {name: one.grad for name, one in policy.model.named_parameters() if one.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("prefilled", [False, True])
def test_log_probabilities_and_gradients_are_those_of_every_completion_by_itself(policy, groups, prefilled):
    prompts, completions = groups
    known = policy.prefill(prompts) if prefilled else None
    once = policy.group_logprobs(prompts, completions, 1.5, known)
    gradients = gradients_of(policy, once.logprobs_BGR)
    each = policy.logprobs_by("plain", prompts, completions, 1.5)
    torch.testing.assert_close(once.logprobs_BGR, each.logprobs_BGR, rtol=0, atol=1e-6)
    torch.testing.assert_close(once.entropy_BGR, each.entropy_BGR, rtol=0, atol=1e-6)
    torch.testing.assert_close(once.entropy_BGR, completions.entropy_BGR.double(), rtol=0, atol=1e-6)
    for name, gradient in gradients_of(policy, each.logprobs_BGR).items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-6)


def test_equal_completions_are_passed_once(policy, groups, monkeypatch):
    prompts, completions = groups
    policy.check(prompts, completions)
    passed, hidden = [], policy.backbone.hidden

    def watched(embedded, *rest, **named):
        passed.append(len(embedded.rows_ND))
        return hidden(embedded, *rest, **named)

    monkeypatch.setattr(policy.backbone, "hidden", watched)
    policy.group_logprobs(prompts, completions)
    lengths = [{tuple(row[mask].tolist()) for row, mask in zip(*group, strict=True)}
               for group in zip(completions.tokens_BGR, completions.mask_BGR, strict=True)]  # fmt: skip
    inputs = sum(len(row) - 1 for group in lengths for row in group)
    assert passed == [int(prompts.lengths_B.sum()) + inputs]
    assert inputs < 0.7 * int((completions.lengths_BG - 1).sum())


def test_completions_that_begin_alike_are_one_row_until_they_differ(policy, groups, monkeypatch):
    """As many rows a step as there are beginnings; the tokens are those of rows that are never shared."""
    prompts, rows = groups[0], []
    attend = Decode.attend

    def watched(self, module, query, *rest):
        rows.append(query.shape[2])
        return attend(self, module, query, *rest)

    monkeypatch.setattr(Decode, "attend", watched)
    how, layers = Sampling(max_tokens=12, temperature=1.5), len(policy.backbone.lean.layers)

    def sample():
        return policy.sample(prompts, 8, how, torch.Generator().manual_seed(4))

    shared, counts = sample(), rows[::layers]
    tokens, mask = shared.tokens_BGR, shared.mask_BGR
    for step_, count in enumerate(counts, 1):  # a step computes what follows from this many tokens
        going = (mask.sum(-1) > step_).nonzero().tolist()
        beginnings = {(b, *tokens[b, g, :step_].tolist()) for b, g in going}
        assert len(beginnings) <= count <= len(beginnings) / 0.8 and count < 32
    assert counts[0] < len(prompts) * 8 and counts[-1] > 1
    monkeypatch.setattr(policy.backbone, "replays", True)  # in stretches, where every completion is a row
    apart = sample()
    assert torch.equal(shared.tokens_BGR, apart.tokens_BGR)
    torch.testing.assert_close(shared.logprobs_BGR, apart.logprobs_BGR, rtol=0, atol=1e-6)
    torch.testing.assert_close(shared.entropy_BGR, apart.entropy_BGR, rtol=0, atol=1e-5)


def collected(policy, method, count=6):
    """Groups of which every third has no advantage."""
    objective = PolicyGradient(method, TEMPLATES["embedded"], None)
    groups = objective.collect(policy, items_of("counting", count), ("once",))
    advantages = torch.randn(groups.advantages_BG.shape, generator=torch.Generator().manual_seed(0))
    advantages[::3] = 0
    return objective, objective.weighed(type(groups)(**vars(groups) | {"advantages_BG": advantages}))


def test_how_much_is_distinct_is_said(policy):
    _, groups = collected(policy, grpo(batch=6))
    once, _ = groups.completions.distinct()
    assert groups.stats["distinct"] == int(once.mask_BGR.any(-1).sum()) / groups.advantages_BG.numel() < 1


def stepped(policy, method, objective, groups):
    row = step(policy, objective, make_optimizer(policy.model, method), groups, method, 0.0)
    return row, {name: one.grad.clone() for name, one in policy.trained().items()}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"updates": 2}, {"loss_mean": "sequences"}, {"micro_batch": 2}],
                         ids=["prefill", "updates", "sequences", "micro-batches"])  # fmt: skip
def test_what_teaches_nothing_is_left_out_of_the_pass_and_not_of_the_means(policy, changes, monkeypatch):
    method = grpo(weight_decay=0.0, clip_grad=1e9, batch=6, **changes)
    objective, groups = collected(policy, method)
    seen, loss = [], objective.loss

    def watched(policy, part):
        seen.append(len(part.prompts))
        return loss(policy, part)

    monkeypatch.setattr(objective, "loss", watched)
    row, gradients = stepped(policy, method, objective, groups)
    assert sum(seen) == 4 and (groups.prefill is None or groups.prefill.spent)
    monkeypatch.setattr(objective, "teaching", lambda groups: list(range(len(groups.prompts))))
    all_row, all_gradients = stepped(policy, method, objective, groups)
    assert sum(seen) == 4 + 6
    assert all_row["entropy"] == pytest.approx(row["entropy"], abs=1e-6)
    for key in ("loss", "grad_norm"):
        assert all_row[key] == pytest.approx(row[key], rel=1e-6)
    for name, gradient in all_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-6, atol=1e-9)


def test_what_only_pictures_reach_is_stepped_where_texts_alone_teach(policy):
    """Moments and weight decay of the tower go on as if all prompts were passed."""
    method = grpo(batch=4)
    objective = PolicyGradient(method, TEMPLATES["embedded"], None)
    items = items_of("counting", 4)
    items[1:3] = [(task, replace(example, images=())) for task, example in items[1:3]]
    groups = objective.collect(policy, items, ("once",))
    advantages = torch.zeros_like(groups.advantages_BG)
    advantages[2] = torch.tensor([1.0, -1.0] * (advantages.shape[1] // 2))
    groups = type(groups)(**vars(groups) | {"advantages_BG": advantages, "prefill": None})
    assert to_pass(objective, groups) == [0, 2]
    stepped(policy, method, objective, groups)  # all that is trained has a gradient


class PushesAll(GRPO):
    """A surrogate of the user's, with a gradient whatever the advantage."""

    def surrogate(self, sampled):
        surrogate, clipped = super().surrogate(sampled)
        return surrogate + sampled.logprobs_BGR, clipped


class LosesMore(PolicyGradient):
    """A loss of the user's, likewise."""

    def loss(self, policy, groups):
        return super().loss(policy, groups)


def test_which_prompts_are_passed(policy):
    method = grpo(batch=6)
    objective, groups = collected(policy, method)
    alone = type(groups)(**vars(groups) | {"prefill": None})
    assert to_pass(objective, alone) == [1, 2, 4, 5]
    few = torch.zeros_like(groups.advantages_BG)
    assert to_pass(objective, type(groups)(**vars(alone) | {"advantages_BG": few})) == [0]
    few[1:] = 1.0  # most of them: what sampling computed of prompts is worth more
    most = type(groups)(**vars(groups) | {"advantages_BG": few})
    assert to_pass(objective, most) == list(range(6)) and not groups.prefill.spent
    own = PolicyGradient(PushesAll(objective="grpo", learning_rate=1e-3), TEMPLATES["embedded"], None)
    held = {"reference_BGR": torch.zeros_like(groups.completions.mask_BGR, dtype=torch.float)}
    drawn_elsewhere = {"completions": groups.completions._each(lambda one: one)}
    object.__setattr__(drawn_elsewhere["completions"], "entropy_BGR", None)
    assert to_pass(own, alone) == list(range(6))
    assert to_pass(LosesMore(method, TEMPLATES["embedded"], None), alone) == list(range(6))
    assert to_pass(objective, type(groups)(**vars(alone) | held)) == list(range(6))
    assert to_pass(objective, type(groups)(**vars(alone) | drawn_elsewhere)) == list(range(6))


def test_an_example_whose_loss_is_not_finite_is_named_by_its_own_place(policy, caplog, monkeypatch):
    method = grpo(weight_decay=0.0, batch=6, updates=2)
    objective, groups = collected(policy, method)

    def broken(policy, part):
        raise NotFiniteError(2)

    monkeypatch.setattr(objective, "loss", broken)
    row = step(policy, objective, make_optimizer(policy.model, method), groups, method, 0.0)
    assert row["skipped"] == 1 and math.isfinite(row["loss"])
    assert groups.name(4) in caplog.text  # the third of those that teach: 1, 2, 4, 5


def test_shards_share_what_teaches_and_have_the_gradient_of_one(policy, monkeypatch):
    """Not what was sampled: else a shard whose prompts teach little waits for the others."""
    method = grpo(weight_decay=0.0, clip_grad=1e9, batch=6, shards=2)
    objective, groups = collected(policy, method)
    advantages = torch.zeros_like(groups.advantages_BG)
    advantages[3:, ::2], advantages[3:, 1::2] = 1.0, -1.0
    groups = replace(groups, advantages_BG=advantages, prefill=None)
    once, _ = groups.completions.distinct()
    tokens_B = groups.prompts.lengths_B + once.mask_BGR.sum((1, 2))
    assert groups.computed() == tokens_B.tolist()
    _, gradients = stepped(policy, method, objective, groups)
    seen, loss = [], objective.loss

    def watched(policy, part):
        seen.append([item[1].id for item in part.items])
        return loss(policy, part)

    monkeypatch.setattr(objective, "loss", watched)
    policy.share(2)
    _, of_two = stepped(policy, method, objective, groups)
    policy.share()
    ids = [item[1].id for item in groups.items]
    assert to_pass(objective, groups) == [3, 4, 5] and seen in ([ids[3:4], ids[4:]], [ids[3:5], ids[5:]])
    for name, gradient in gradients.items():
        torch.testing.assert_close(of_two[name], gradient, rtol=1e-6, atol=1e-9)


def test_equal_responses_are_graded_once(policy, monkeypatch):
    """Each as often as it was written, by a rule that was asked once."""
    asked = []

    def watched(task, example, text, *rest):
        asked.append((example.id, text))
        return grade(task, example, text, *rest)

    monkeypatch.setattr(rollouts, "grade", watched)
    items = items_of("counting", 4)
    asking = Asking("cot", TEMPLATES["embedded"], Sampling(max_tokens=12), ("once",))
    drawn = rollouts.roll_out(policy, items, asking, group_size=8)
    pairs = zip(items, drawn.texts, strict=True)
    written = [(example.id, text) for (_, example), texts in pairs for text in texts]
    assert asked == list(dict.fromkeys(written)) and len(asked) < len(written) == 32
    for (task, example), texts, scores in zip(items, drawn.texts, drawn.scores_BG.tolist(), strict=True):
        assert scores == [grade(task, example, text, "cot").score for text in texts]
