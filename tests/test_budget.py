"""A token budget splits batches without changing what comes out."""

from __future__ import annotations

import random

import pytest
import torch

from holdfast.errors import HoldfastError
from holdfast.learning.groups import Groups
from holdfast.learning.likelihood import with_references
from holdfast.learning.methods import make_method
from holdfast.learning.policygradient import PolicyGradient
from holdfast.learning.retention.passes import objective_gradient
from holdfast.learning.step import step
from holdfast.policy import policy as policy_module
from holdfast.policy.batch import group_tokens
from holdfast.policy.budget import TokenBudget
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from policy_helpers import make_folder, make_policy, random_image, random_text
from test_learning import items_of, sft, stage_of

METHOD = make_method(objective="grpo", group_size=3, learning_rate=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model"))


def batch(policy: Policy, sampling: Sampling = Sampling(max_tokens=9)):
    rng = random.Random(0)
    pictures = [random_image(rng) for _ in range(3)]
    prompts = policy.encode(
        [random_text(rng, 2 + index) for index in range(5)],
        [[pictures[0]], [], [pictures[1], pictures[0]], [pictures[2]], [pictures[1]]],
    )
    return prompts, policy.sample(prompts, 3, sampling, torch.Generator().manual_seed(1), greedy_row=True)


def gradients(policy: Policy, micro_batch: int | None = None) -> dict[str, torch.Tensor]:
    """Of one step, with the weights left as they are."""
    prompts, completions = batch(policy)
    weights = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    groups = Groups(prompts, completions, weights)
    method = METHOD.model_copy(update={"micro_batch": micro_batch, "clip_grad": 1e9})
    optimizer = torch.optim.SGD(policy.model.parameters(), lr=0.0)
    step(policy, PolicyGradient(method, {}, None), optimizer, groups, method, 0.0)
    return {name: p.grad.clone() for name, p in policy.model.named_parameters()}


def test_split():
    budget = TokenBudget(10)
    assert budget.split([3, 3, 3, 3]) == [range(0, 3), range(3, 4)]
    assert budget.split([30, 3, 30, 3]) == [range(0, 1), range(1, 2), range(2, 3), range(3, 4)]
    assert budget.split([3, 3, 3, 3], most_rows=2) == [range(0, 2), range(2, 4)]
    assert TokenBudget(None).split([5] * 4) == [range(0, 4)]
    assert TokenBudget(None).split([5] * 4, most_rows=3) == [range(0, 3), range(3, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["packed", "plain"])
@pytest.mark.parametrize(
    "sampling", [Sampling(max_tokens=9), Sampling(max_tokens=9, temperature=1.2, top_p=0.9)]
)
def test_draws_do_not_depend_on_the_split(folder, way, sampling):
    found = []
    for tokens in (None, 130, 1):
        policy = make_policy(folder, token_budget=tokens)
        policy.way = way
        found.append(batch(policy, sampling)[1])
    assert len(policy.budget.split(group_tokens(batch(policy)[0], found[0]))) == 5
    for other in found[1:]:
        assert torch.equal(found[0].tokens_BGR, other.tokens_BGR)
        assert torch.equal(found[0].mask_BGR, other.mask_BGR)
        assert torch.equal(found[0].finished_BG, other.finished_BG)
        torch.testing.assert_close(found[0].logprobs_BGR, other.logprobs_BGR, rtol=0, atol=1e-4)


def test_logprobs_and_gradients_do_not_depend_on_the_split(folder):
    whole, split = make_policy(folder), make_policy(folder, token_budget=70)
    for policy in (whole, split):
        policy.model.double()
    prompts, completions = batch(whole)
    assert 1 < len(split.budget.split(group_tokens(prompts, completions))) < 5
    with torch.no_grad():
        one, other = (policy.group_logprobs(prompts, completions) for policy in (whole, split))
    torch.testing.assert_close(one.logprobs_BGR, other.logprobs_BGR, rtol=0, atol=1e-6)
    torch.testing.assert_close(one.entropy_BGR, other.entropy_BGR, rtol=0, atol=1e-6)
    wanted = gradients(whole)
    for found in (gradients(split), gradients(split, micro_batch=2)):
        for name, gradient in wanted.items():
            scale = gradient.abs().max().item() + 1e-3
            torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-5 * scale, msg=name)


class Full:
    """A device whose memory holds `tokens` of a log-probability pass."""

    def __init__(self, tokens: int):
        self.tokens, self.passes = tokens, []
        self.real = policy_module.packed_logprobs

    def __call__(self, backbone, prompts, completions, *rest):
        size = sum(group_tokens(prompts, completions))
        self.passes.append(size)
        if size > self.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.real(backbone, prompts, completions, *rest)


def close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    for name, gradient in wanted.items():
        scale = gradient.abs().max().item() + 1e-3
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-3 * scale, msg=name)


def test_running_out_of_memory_halves_the_budget(folder, monkeypatch, caplog):
    wanted = gradients(make_policy(folder))
    policy = make_policy(folder)
    policy.tried.packed = True
    total = sum(group_tokens(*batch(policy)))
    device = Full(total - 1)
    monkeypatch.setattr(policy_module, "packed_logprobs", device)
    found = gradients(policy)
    assert "Out of memory: going on with a token budget" in caplog.text
    assert policy.budget.tokens < total and device.passes[0] == total and len(device.passes) >= 3
    close(found, wanted)


def test_it_is_halved_down_to_one_prompt(folder, monkeypatch, caplog):
    wanted = gradients(make_policy(folder))
    policy = make_policy(folder)
    policy.tried.packed = True
    largest = max(group_tokens(*batch(policy)))
    device = Full(largest)
    monkeypatch.setattr(policy_module, "packed_logprobs", device)
    close(gradients(policy), wanted)
    assert caplog.text.count("Out of memory: going on") >= 2
    device.tokens = largest - 1
    with pytest.raises(HoldfastError, match="even with one prompt at a time"):
        gradients(policy)


def test_it_is_halved_for_gradients_of_old_examples_too(monkeypatch):
    policy, items = Policy.load("embedded", ModelSettings()), items_of("counting", 4)
    stage = stage_of(policy, sft(), items, 1)
    wanted = objective_gradient(stage, items, ("old",))
    groups = with_references(policy, items, stage.templates, "cot", "answer")
    device = Full(sum(group_tokens(groups.prompts, groups.completions)) - 1)
    monkeypatch.setattr(policy_module, "packed_logprobs", device)
    torch.testing.assert_close(objective_gradient(stage, items, ("old",)), wanted, rtol=1e-3, atol=1e-5)
    assert len(device.passes) > 2


def test_memory_that_runs_out_within_a_part_has_the_whole_split_again():
    budget, tried = TokenBudget(None), []

    def whole() -> list[int]:
        return [budget.attempt(lambda part=part: inner(len(part))) for part in budget.split([5] * 8)]

    def inner(rows: int) -> int:
        tried.append(rows)
        budget.split([5])
        if rows > 2:
            raise torch.OutOfMemoryError
        return rows

    assert budget.attempt(whole) == [2, 2, 2, 2]
    assert tried == [8, 4, 2, 2, 2, 2]


def test_what_another_pass_was_given_does_not_count():
    """Sampling, whose tokens are a bound, may have been given far more than log-probabilities need."""
    budget = TokenBudget(None)
    budget.attempt(lambda: budget.split([1000] * 4))

    def work() -> int:
        parts = budget.split([10] * 4)
        if len(parts) == 1:
            raise torch.OutOfMemoryError
        return len(parts)

    assert budget.attempt(work) == 2 and budget.tokens == 20
