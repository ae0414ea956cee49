"""Attention among packed segments equals attention with a mask: results, gradients, and what uses it."""

from __future__ import annotations

import math

import pytest
import torch

from family_helpers import make_gemma3_folder
from holdfast.policy import flash
from holdfast.policy.flash import Bounds, Part
from policy_helpers import make_folder, make_policy, make_qwen3_folder, make_text_folder
from test_group_pass import loss_and_gradients, random_batch


def segments(part):
    """Rows of queries and of keys that see each other."""
    for which in range(len(part.queries.starts) - 1):
        yield (slice(*bounds.starts[which : which + 2].tolist()) for bounds in (part.queries, part.keys))


def scores_of(query, key, part, scaling):
    """[H, N, K] of one segment, in at least float32; -inf where a query must not look."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = torch.einsum("nhd,khd->hnk", query, key) * scaling
    if part.causal:
        scores = scores.masked_fill(torch.ones(scores.shape[1:]).triu(1).bool(), -math.inf)
    return scores


def wide(*tensors):
    return [x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


def slow_forward(query, key, value, part, scaling):
    """What the kernel does, segment by segment."""
    out, sums_HN = torch.zeros_like(query), torch.zeros(query.shape[1::-1], dtype=wide(query)[0].dtype)
    for rows, columns in segments(part):
        q, k, v = wide(query[rows], key[columns], value[columns])
        scores = scores_of(q, k, part, scaling)
        sums_HN[:, rows] = scores.logsumexp(-1)
        v = v.repeat_interleave(q.shape[1] // v.shape[1], 1)
        out[rows] = torch.einsum("hnk,khd->nhd", scores.softmax(-1), v).to(out.dtype)
    return out, sums_HN, (torch.empty(0), torch.empty(0))


def slow_backward(grad, query, key, value, out, sums_HN, part, seed, scaling):
    """The kernel's backward pass: weights are what scores and the given log-sum-exp say."""
    grads = [torch.zeros_like(x) for x in (query, key, value)]
    for rows, columns in segments(part):
        g, q, k, v, o = wide(grad[rows], query[rows], key[columns], value[columns], out[rows])
        kv_heads, repeats = k.shape[1], q.shape[1] // k.shape[1]
        weights = (scores_of(q, k, part, scaling) - sums_HN[:, rows, None]).exp()
        from_values = torch.einsum("nhd,khd->hnk", g, v.repeat_interleave(repeats, 1))
        slopes = weights * (from_values - (g * o).sum(-1).t()[..., None]) * scaling
        grads[0][rows] = torch.einsum("hnk,khd->nhd", slopes, k.repeat_interleave(repeats, 1)).to(q.dtype)
        for index, made in ((1, torch.einsum("hnk,nhd->khd", slopes, q)),
                            (2, torch.einsum("hnk,nhd->khd", weights, g))):  # fmt: skip
            summed = made.unflatten(1, (kv_heads, repeats)).sum(2)
            grads[index][columns] = summed.to(grads[index].dtype)
    return tuple(grads)


@pytest.fixture
def kernels(monkeypatch):
    """As if the kernels were there; whether they were asked is in the list."""
    asked = []

    def forward(*args):
        asked.append(args[3])
        return slow_forward(*args)

    monkeypatch.setattr(flash, "_forward", forward)
    monkeypatch.setattr(flash, "_backward", slow_backward)
    flash.works.cache_clear()
    yield asked
    flash.works.cache_clear()


FOLDERS = {
    "qwen2.5-vl": lambda folder: make_folder(folder, windowed=True),
    "qwen3-vl": make_qwen3_folder,
    "gemma-3": make_gemma3_folder,  # rows longer than its window, and none
    "gemma-3, a long window": lambda folder: make_gemma3_folder(folder, window=64),
    "text": make_text_folder,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "span"), [(torch.float64, 1e-6), (torch.float32, 1e-4), (torch.bfloat16, 0.1)], ids=str
)
@pytest.mark.parametrize("family", FOLDERS)
def test_groups_and_their_gradients_are_those_of_the_masked_pass(
    family, dtype, span, tmp_path, kernels, monkeypatch
):
    policy = make_policy(FOLDERS[family](tmp_path))
    policy.model.to(dtype)
    for images, group, longest in (((1, 2, 0), 3, 7), ((0, 1), 2, 1), ((2,), 1, 5)):
        batch = random_batch(policy, 4, (0,) * len(images) if family == "text" else images, group, longest)
        wanted, loss, wanted_gradients = loss_and_gradients(policy, "packed", *batch)
        with monkeypatch.context() as patched:
            patched.setattr(flash, "usable", lambda query, key: True)
            found, same_loss, gradients = loss_and_gradients(policy, "packed", *batch)
        torch.testing.assert_close(found.logprobs_BGR, wanted.logprobs_BGR, rtol=0, atol=5 * span)
        torch.testing.assert_close(same_loss, loss, rtol=0, atol=span)
        assert gradients.keys() == wanted_gradients.keys()
        for name, gradient in gradients.items():
            scale = float(wanted_gradients[name].norm()) + 1e-3
            if not name.endswith("k_proj.bias"):  # rounding alone: softmax does not see it
                assert float((gradient - wanted_gradients[name]).norm()) < span * scale, name
    assert {part.causal for part in kernels} == {False, True}


def test_activations_are_recomputed_alike(tmp_path, kernels, monkeypatch):
    monkeypatch.setattr(flash, "usable", lambda query, key: True)
    results = []
    for checkpointing in (False, True):
        policy = make_policy(make_folder(tmp_path), activation_checkpointing=checkpointing)
        policy.model.double()
        results.append(loss_and_gradients(policy, "packed", *random_batch(policy, 6, (1, 2), 3, 6))[2])
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, rtol=0, atol=1e-9, msg=name)


@pytest.mark.slow
def test_gradients_of_merged_parts(kernels):
    generator = torch.Generator().manual_seed(0)
    leaves = [
        torch.randn(9, heads, 4, dtype=torch.float64, generator=generator).requires_grad_()
        for heads in (4, 2, 2)
    ]
    prompts, groups, members = (Bounds.of(torch.tensor(x)) for x in ([3, 1], [4, 1], [[1, 3], [0, 1]]))
    parts = [
        Part(slice(0, 4), prompts, slice(0, 4), prompts, True),
        Part(slice(4, 9), groups, slice(0, 4), prompts, False),
        Part(slice(4, 9), members, slice(4, 9), members, True),
    ]
    assert torch.autograd.gradcheck(lambda *x: flash.attend(*x, parts, 0.5), leaves)


def test_the_kernels_are_tried_before_they_are_used(kernels, monkeypatch, caplog):
    case = torch.device("cpu"), torch.bfloat16, 4, 2, 16
    assert flash.works(*case) and not caplog.text
    flash.works.cache_clear()
    wrong = lambda *args: [2 * x for x in slow_backward(*args)]  # noqa: E731
    monkeypatch.setattr(flash, "_backward", wrong)
    assert not flash.works(*case) and "they are off by" in caplog.text


def test_without_the_kernels_attention_goes_on_with_a_mask(caplog):
    flash.works.cache_clear()
    assert not flash.works(torch.device("cpu"), torch.bfloat16, 4, 2, 16)
    assert "cannot be used" in caplog.text
    flash.works.cache_clear()
    query = torch.empty(1, 4, 3, 16, dtype=torch.bfloat16)
    assert not flash.usable(query, query)  # a CPU is not asked


def test_the_kernels_are_called_as_pytorch_wants_it():
    """On the meta device PyTorch checks arguments and tells shapes."""
    query, key = (torch.empty(9, heads, 16, dtype=torch.bfloat16, device="meta") for heads in (4, 2))
    bounds = Bounds(torch.empty(3, dtype=torch.int32, device="meta"), 5)
    part = Part(slice(0, 9), bounds, slice(0, 9), bounds, True)
    out, sums_HN, seed = flash._forward(query, key, key, part, 0.25)
    assert out.shape == query.shape and sums_HN.shape == (4, 9) and sums_HN.dtype == torch.float32
    made = flash._backward(out, query, key, key, out, sums_HN, part, seed, 0.25)
    assert [x.shape for x in made] == [query.shape, key.shape, key.shape]
