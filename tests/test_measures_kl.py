"""Drift: divergences against closed forms on a two-token model, and both ways of computing them."""

from dataclasses import replace

import pytest
import torch

from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import encode_items
from holdfast.measures import kl as module
from holdfast.measures.kl import divergences
from holdfast.policy.policy import Policy
from holdfast.policy.reference import Reference
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from holdfast.tasks.prompts import TEMPLATES as ALL_TEMPLATES
from measures_helpers import (
    TEMPLATES,
    assert_untouched,
    disturbed,
    embedded_items,
    state,
    token_ids,
    two_token_policy,
    word_items,
)
from policy_helpers import make_folder, make_policy
from test_group_pass import random_batch


def measure(policy, references, items, **changes):
    samples = changes.pop("samples", 1)
    asking = replace(Asking("direct", TEMPLATES, Sampling(max_tokens=1), ("test",), batch=64), **changes)
    return divergences(policy, references, {"words": items}, asking, samples)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A two-token policy and a reference."""
    policy = two_token_policy(tmp_path_factory.mktemp("text"))
    return policy, Reference(policy, disturbed(policy, 0.05))


def next_token(policy, rows):
    """Probabilities [N, 2] of the next token by transformers itself."""
    ids = token_ids(policy)
    with torch.no_grad():
        return torch.stack([policy.model(row[None]).logits[0, -1, ids].softmax(-1) for row in rows])


def sequence_divergence(policy, reference, items):
    """KL(reference ‖ policy) and KL(policy ‖ reference) over all texts of at most two tokens, [N] each."""
    prompts = encode_items(policy, items, "direct", TEMPLATES)
    rows = [tokens[mask] for tokens, mask in zip(prompts.tokens_BP, prompts.mask_BP, strict=True)]
    longer = [torch.cat([row, torch.tensor(token_ids(policy)[:1])]) for row in rows]

    def texts():  # the end; the word and the end; the word twice
        first, second = next_token(policy, rows), next_token(policy, longer)
        return torch.stack([first[:, 1], first[:, 0] * second[:, 1], first[:, 0] * second[:, 0]], dim=1)

    p = texts()
    with reference.in_place():
        q = texts()
    return (q * (q / p).log()).sum(1), (p * (p / q).log()).sum(1)


def test_one_token_is_the_closed_form(pair):
    """Whatever token is drawn, the divergence over the vocabulary is Σ q log q/p."""
    policy, reference = pair
    items = word_items(5)
    prompts = encode_items(policy, items, "direct", TEMPLATES)
    rows = [tokens[mask] for tokens, mask in zip(prompts.tokens_BP, prompts.mask_BP, strict=True)]
    p = next_token(policy, rows)
    with reference.in_place():
        q = next_token(policy, rows)
    (row,) = measure(policy, {"base": reference}, items)
    for way, one, other in (("forward", q, p), ("reverse", p, q)):
        values = (one * (one / other).log()).sum(1)
        assert row[way] == pytest.approx(values.mean().item(), rel=1e-9)
        assert row[f"{way}_se"] == pytest.approx(values.std().item() / 5**0.5, rel=1e-9)
        assert row[f"per_token_{way}"] == pytest.approx(row[way])
    assert row["forward"] != pytest.approx(row["reverse"], rel=1e-3)
    assert (row["prompts"], row["samples"], row["tokens"], row["exact"]) == (5, 1, 10, True)


@pytest.mark.slow
@pytest.mark.parametrize("exact", [True, False])
def test_two_tokens_are_right_in_expectation(pair, exact, monkeypatch):
    """Samples of one prompt, as prompts of their own: their mean is the enumerated divergence."""
    policy, reference = pair
    if not exact:
        monkeypatch.setattr(module, "EXACT_ENTRIES", 0)
    items = word_items(1) * 2000
    (row,) = measure(policy, {"base": reference}, items, sampling=Sampling(max_tokens=2), batch=1000)
    truth = [value.item() for value in sequence_divergence(policy, reference, items[:1])]
    assert row["exact"] is exact
    for way, value in zip(("forward", "reverse"), truth, strict=True):
        assert abs(row[way] - value) < 4 * row[f"{way}_se"]
        if not exact:
            assert row[f"{way}_se"] < 0.4 * value
        else:
            assert row[f"{way}_se"] < 0.02 * value


def test_the_mean_is_over_prompts_and_their_samples(pair):
    """Of one token each, every sample of a prompt says the same."""
    policy, reference = pair
    one, four = (
        measure(policy, {"base": reference}, word_items(3), samples=samples)[0] for samples in (1, 4)
    )
    for name in ("forward", "forward_se", "reverse", "reverse_se", "per_token_forward"):
        assert four[name] == pytest.approx(one[name], rel=1e-9)
    assert (four["samples"], four["prompts"], four["tokens"]) == (4, 3, 4 * one["tokens"])
    (single,) = measure(policy, {"base": reference}, word_items(1))
    assert single["forward_se"] is None


def test_references_do_not_meet(pair):
    """Beside another reference, each gives what it gives alone."""
    policy, reference = pair
    other = Reference(policy, disturbed(policy, 0.1, seed=5))
    settings = {"sampling": Sampling(max_tokens=2), "samples": 2}
    both = measure(policy, {"a": reference, "b": other}, word_items(4), **settings)
    for row, source in zip(both, (reference, other), strict=True):
        (alone,) = measure(policy, {row["reference"]: source}, word_items(4), **settings)
        assert row["tokens"] == alone["tokens"]
        assert row["forward"] == pytest.approx(alone["forward"], rel=1e-6)
        assert row["reverse"] == pytest.approx(alone["reverse"], rel=1e-6)
    assert both[0]["forward"] != pytest.approx(both[1]["forward"], rel=1e-2)


def test_equal_policies_do_not_drift_and_nothing_is_touched():
    policy = Policy.load("embedded", ModelSettings())
    before = state(policy)
    other = Reference(policy, disturbed(policy, 0.02))
    items = {name: embedded_items(name, 3, "test") for name in ("photos", "facts")}
    rows = divergences(
        policy,
        {"same": policy.snapshot(), "other": other},
        items,
        Asking("cot", ALL_TEMPLATES["embedded"], Sampling(max_tokens=16), ("test",), batch=4),
    )
    assert [(row["task"], row["reference"]) for row in rows] == [
        (task, name) for task in items for name in ("same", "other")
    ]
    for same, moved in zip(rows[::2], rows[1::2], strict=True):
        assert abs(same["forward"]) < 1e-5 and abs(same["reverse"]) < 1e-5
        assert moved["forward"] > 1e-3 and moved["reverse"] > 1e-3
        assert moved["per_token_forward"] < moved["forward"]
    assert_untouched(policy, before)


def test_a_small_limit_splits_batches_with_the_same_result(pair, monkeypatch):
    policy, reference = pair
    settings = {"sampling": Sampling(max_tokens=2), "samples": 2}
    whole = measure(policy, {"base": reference}, word_items(6), **settings)
    # 8 tokens at most for one prompt: the policy's two completions and the reference's, of two tokens
    monkeypatch.setattr(module, "EXACT_ENTRIES", 8 * len(policy.draw.banned_V))
    parts = measure(policy, {"base": reference}, word_items(6), **settings)
    assert parts[0]["exact"] and parts[0]["forward"] == pytest.approx(whole[0]["forward"], rel=1e-9)
    monkeypatch.setattr(module, "EXACT_ENTRIES", 8 * len(policy.draw.banned_V) - 1)
    assert not measure(policy, {"base": reference}, word_items(6), **settings)[0]["exact"]


def test_distributions_are_the_same_packed_and_plain_and_split(tmp_path):
    policy = make_policy(make_folder(tmp_path))
    policy.model.double()
    prompts, completions = random_batch(policy, 4, (1, 2, 0), 3, 6)
    made = {}
    for way in ("packed", "plain"):
        policy.way = way
        made[way] = policy.group_distributions(prompts, completions, 0.7)
    assert torch.allclose(made["packed"], made["plain"], atol=1e-9)
    policy.way, policy.budget.tokens = "packed", 1
    assert torch.allclose(policy.group_distributions(prompts, completions, 0.7), made["packed"], atol=1e-9)
    with torch.no_grad():
        sampled = policy.group_logprobs(prompts, completions, 0.7).logprobs_BGR[completions.mask_BGR]
    targets = completions.tokens_BGR[completions.mask_BGR]
    assert torch.allclose(made["packed"].gather(1, targets[:, None])[:, 0], sampled, atol=1e-9)
    assert torch.allclose(made["packed"].exp().sum(-1), torch.ones(len(targets)).double())


def test_the_plain_pass_gives_the_same_drift(pair):
    policy, reference = pair
    settings = {"sampling": Sampling(max_tokens=2), "samples": 3}
    packed = measure(policy, {"base": reference}, word_items(4), **settings)
    try:
        policy.way = "plain"
        plain = measure(policy, {"base": reference}, word_items(4), **settings)
    finally:
        policy.way = "packed"
    assert plain[0]["forward"] == pytest.approx(packed[0]["forward"], rel=1e-6)
    assert plain[0]["reverse"] == pytest.approx(packed[0]["reverse"], rel=1e-6)


def test_drift_from_the_model_under_adapters(tmp_path):
    pytest.importorskip("peft")
    folder = make_folder(tmp_path)
    policy = make_policy(folder, path=str(folder), lora=Lora(rank=2, alpha=4))
    items, settings = word_items(3), {"sampling": Sampling(max_tokens=4)}
    (fresh,) = measure(policy, {"base": policy.without_adapters()}, items, **settings)
    assert abs(fresh["forward"]) < 1e-5
    for name, weight in disturbed(policy, 0.1).items():
        dict(policy.model.named_parameters())[name].data = weight
    (moved,) = measure(policy, {"base": policy.without_adapters()}, items, **settings)
    assert moved["forward"] > 1e-3
