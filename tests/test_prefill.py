"""A step that goes on from the prefill of its sampling, and fused log-probabilities."""

from __future__ import annotations

import pytest
import torch

from family_helpers import make_internvl_folder, make_qwen2_folder
from holdfast.policy import lean, logprobs
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Sampling
from policy_helpers import make_folder, make_policy, make_qwen3_folder, make_text_folder
from test_group_pass import SPANS, loss_and_gradients, random_batch

FOLDERS = {
    "qwen2.5-vl": (make_folder, (1, 2, 0)),
    "qwen2-vl": (make_qwen2_folder, (1, 2, 0)),
    "qwen3-vl": (make_qwen3_folder, (1, 2, 0)),
    "internvl": (make_internvl_folder, (1, 2, 0)),
    "text": (make_text_folder, (0, 0)),
}


def double_policy(folder) -> Policy:
    policy = make_policy(folder)
    policy.model.double()
    return policy


def continued(policy: Policy, prompts, completions, known):
    """Log-probabilities and every gradient, going on from `known`."""
    policy.model.zero_grad(set_to_none=True)
    result = policy.logprobs_by("packed", prompts, completions, 0.7, known)
    weights = torch.randn(completions.tokens_BGR.shape, generator=torch.Generator().manual_seed(5))
    ((result.logprobs_BGR * weights).sum() / completions.mask_BGR.sum()).backward()
    return result, {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("longest", [1, 6])
def test_going_on_from_a_prefill_equals_the_plain_pass(tmp_path, kind, longest):
    make, images = FOLDERS[kind]
    policy = double_policy(make(tmp_path))
    batch = random_batch(policy, 4, images, 3, longest)
    plain, _, wanted = loss_and_gradients(policy, "plain", *batch, 0.7)
    found, gradients = continued(policy, *batch, policy.prefill(batch[0]))
    span = SPANS[torch.float64]
    torch.testing.assert_close(found.logprobs_BGR, plain.logprobs_BGR, rtol=0, atol=span)
    torch.testing.assert_close(found.entropy_BGR, plain.entropy_BGR, rtol=0, atol=span)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        scale = wanted[name].abs().max().item() + 1e-3
        torch.testing.assert_close(gradient, wanted[name], rtol=0, atol=span * scale, msg=name)


def test_a_prefill_of_other_weights_shows(tmp_path):
    """Negative control: a prefill that is older than the weights must not pass for rounding."""
    policy = double_policy(make_folder(tmp_path))
    batch = random_batch(policy, 4, (1, 0), 3, 6)
    known = policy.prefill(batch[0])
    weight = policy.model.model.language_model.layers[0].self_attn.k_proj.weight
    weight.data = weight.data * 1.01
    found = policy.logprobs_by("packed", *batch, 0.7, known).logprobs_BGR
    plain = policy.logprobs_by("plain", *batch, 0.7).logprobs_BGR
    assert (found - plain).abs().max() > 10 * SPANS[torch.float64]


def test_sampling_from_a_prefill_draws_the_same_and_leaves_its_graph(tmp_path):
    policy = double_policy(make_folder(tmp_path))
    prompts = random_batch(policy, 4, (1, 2, 0), 1, 1)[0]
    known = policy.prefill(prompts)
    assert known is not None
    one, other = (
        policy.sample(prompts, 3, Sampling(max_tokens=8), torch.Generator().manual_seed(2), prefilled=start)
        for start in (None, known)
    )
    assert torch.equal(one.tokens_BGR, other.tokens_BGR)
    _, wanted = continued(policy, prompts, one, None)
    _, gradients = continued(policy, prompts, other, known)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=0, atol=1e-9, msg=name)


def test_a_reference_may_stand_in_meanwhile(tmp_path):
    """A KL penalty swaps other weights in and out between sampling and training."""
    policy = double_policy(make_folder(tmp_path))
    batch = random_batch(policy, 4, (1, 0), 2, 4)
    snapshot = policy.snapshot()
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter *= 1.1
    _, wanted = continued(policy, *batch, None)
    known = policy.prefill(batch[0])
    snapshot.group_logprobs(*batch)
    _, gradients = continued(policy, *batch, known)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=0, atol=1e-9, msg=name)


def test_a_prefill_by_layers_that_were_found_wrong_is_not_used(tmp_path, monkeypatch):
    policy, same = make_policy(make_folder(tmp_path)), make_policy(tmp_path)
    same.backbone.lean = None
    prompts = random_batch(policy, 4, (1, 0), 1, 1)[0]
    monkeypatch.setattr(lean, "_unit", lambda rows, epsilon: (rows, rows))
    known = policy.prefill(prompts)
    found, wanted = (
        one.sample(prompts, 3, Sampling(max_tokens=8), torch.Generator().manual_seed(1), prefilled=start)
        for one, start in ((policy, known), (same, None))
    )
    assert torch.equal(found.tokens_BGR, wanted.tokens_BGR)
    assert torch.equal(found.logprobs_BGR, wanted.logprobs_BGR)
    found = policy.group_logprobs(prompts, found, prefilled=known)
    assert torch.equal(found.logprobs_BGR, same.group_logprobs(prompts, wanted).logprobs_BGR)


def test_a_prefill_serves_one_backward_pass(tmp_path):
    policy = double_policy(make_folder(tmp_path))
    batch = random_batch(policy, 4, (1, 0), 2, 4)
    known = policy.prefill(batch[0])
    _, first = continued(policy, *batch, known)
    _, second = continued(policy, *batch, known)  # its graph is gone: prompts are computed again
    for name, gradient in second.items():
        torch.testing.assert_close(gradient, first[name], rtol=0, atol=1e-9, msg=name)


def test_no_prefill_is_held_where_memory_is_bounded(tmp_path):
    folder = make_folder(tmp_path)
    for settings in ({"activation_checkpointing": True}, {"token_budget": 100}):
        policy = make_policy(folder, **settings)
        assert policy.prefill(random_batch(policy, 4, (1, 0), 2, 4)[0]) is None


def test_fused_log_probabilities_equal_those_of_log_softmax():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 30, dtype=torch.float64, generator=generator) * 5
    banned = torch.arange(30) % 7 == 3
    targets = (~banned).nonzero().squeeze(1)[torch.randint(0, 25, (7,), generator=generator)]
    for temperature in (1.0, 0.6):
        rest = (targets, banned, temperature)
        results = []
        for compute in (logprobs.logits_to_logprobs, logprobs._TokenLogprobs.apply):
            leaf = logits.clone().requires_grad_()
            logprob, entropy = compute(leaf, *rest)
            (logprob * torch.arange(7)).sum().backward()
            assert not entropy.requires_grad and not leaf.grad[:, banned].any()
            results.append((logprob.detach(), entropy, leaf.grad))
        for found, wanted in zip(*results, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        leaf = logits.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, r=rest: logprobs._TokenLogprobs.apply(x, *r)[0], leaf)
