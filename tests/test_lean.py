"""Layers that are written out: what transformers' own compute, trimmed, adapted, watched, decoding."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from family_helpers import make_internvl_folder, make_llava_folder, make_qwen2_folder, make_smolvlm_folder
from holdfast.policy import lean
from holdfast.policy.settings import Lora, Sampling
from policy_helpers import make_folder, make_policy, make_qwen3_folder, make_text_folder
from test_group_pass import assert_equal_passes, loss_and_gradients, random_batch

FAMILIES = {
    "qwen2-vl": make_qwen2_folder,
    "qwen2.5-vl": make_folder,
    "qwen3-vl": make_qwen3_folder,
    "smolvlm": make_smolvlm_folder,
    "internvl": make_internvl_folder,
    "llava": make_llava_folder,
    "text": make_text_folder,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_known_family_is_written_out(family, tmp_path):
    policy = make_policy(FAMILIES[family](tmp_path))
    batch = random_batch(policy, 1, (0, 0) if family == "text" else (2, 0, 1), 3, 6)
    found = loss_and_gradients(policy, "packed", *batch)
    layers, policy.backbone.lean = policy.backbone.lean, None
    wanted = loss_and_gradients(policy, "packed", *batch)
    assert layers is not None
    torch.testing.assert_close(found[0].logprobs_BGR, wanted[0].logprobs_BGR, rtol=0, atol=1e-4)
    assert found[2].keys() == wanted[2].keys()
    for name, gradient in found[2].items():
        scale = float(wanted[2][name].abs().max()) + 1e-3
        torch.testing.assert_close(gradient, wanted[2][name], rtol=0, atol=1e-4 * scale, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_drawn_is_what_is_recomputed(family, tmp_path, caplog):
    policy = make_policy(FAMILIES[family](tmp_path))
    prompts, _ = random_batch(policy, 2, (0, 0) if family == "text" else (2, 0, 1), 3, 6)
    completions = policy.sample(prompts, 3, Sampling(max_tokens=12), torch.Generator().manual_seed(1), True)
    again_BGR = policy.group_logprobs(prompts, completions).logprobs_BGR.detach()
    torch.testing.assert_close(again_BGR, completions.logprobs_BGR, rtol=0, atol=1e-4)
    assert policy.backbone.lean is not None and not caplog.text


def test_adapters_are_called(folder):
    pytest.importorskip("peft")
    policy = make_policy(folder, lora=Lora(rank=2))
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    assert policy.backbone.lean is not None and not policy.backbone.lean.layers[0].joins
    prompts, completions = random_batch(policy, 3, (1, 0), 2, 5)
    assert_equal_passes(policy, prompts, completions)
    drawn = policy.sample(prompts, 2, Sampling(max_tokens=8), torch.Generator().manual_seed(1))
    again_BGR = policy.group_logprobs(prompts, drawn).logprobs_BGR.detach()
    torch.testing.assert_close(again_BGR, drawn.logprobs_BGR, rtol=0, atol=1e-4)


def test_joined_matrices_draw_the_same(folder, monkeypatch):
    policy = make_policy(folder)
    prompts, _ = random_batch(policy, 4, (1, 0), 2, 5)
    draw = lambda: policy.sample(prompts, 3, Sampling(max_tokens=12), torch.Generator().manual_seed(1))  # noqa: E731
    assert policy.backbone.lean.layers[0].joins
    joined = draw()
    monkeypatch.setattr(lean, "JOINED_WEIGHTS", 0)
    apart = draw()
    assert torch.equal(joined.tokens_BGR, apart.tokens_BGR)
    torch.testing.assert_close(joined.logprobs_BGR, apart.logprobs_BGR, rtol=0, atol=1e-4)


def test_hooks_are_shown_transformers_own_layers(folder):
    policy = make_policy(folder)
    batch = random_batch(policy, 5, (1,), 2, 5)
    seen = []
    down = policy.backbone.text.layers[-1].mlp.down_proj
    hook = down.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    policy.logprobs_by("packed", *batch, 1.0)
    hook.remove()
    tokens = int(batch[0].lengths_B.sum() + (batch[1].lengths_BG - 1).clamp_min(0).sum())
    assert seen == [tokens]  # those that nobody reads, too


def test_the_last_layer_computes_what_is_read(folder, monkeypatch):
    policy = make_policy(folder)
    prompts, completions = random_batch(policy, 6, (1, 1), 2, 5)
    rows = []
    mlp = lean.Layer.mlp
    monkeypatch.setattr(lean.Layer, "mlp", lambda self, x: (rows.append(len(x)), mlp(self, x))[1])
    policy.logprobs_by("packed", prompts, completions, 1.0)
    inputs = int((completions.lengths_BG - 1).clamp_min(0).sum())
    assert rows == [int(prompts.lengths_B.sum()) + inputs, len(prompts) + inputs]


@pytest.mark.parametrize("fault", ["norm", "decode"])
def test_layers_that_differ_are_left_to_transformers(fault, folder, monkeypatch, caplog):
    policy, same = make_policy(folder), make_policy(folder)
    same.backbone.lean = None
    prompts, _ = random_batch(policy, 7, (1, 1), 2, 5)
    draw = lambda one: one.sample(prompts, 2, Sampling(max_tokens=8), torch.Generator().manual_seed(1))  # noqa: E731
    wanted = draw(same)
    if fault == "norm":
        monkeypatch.setattr(lean, "_unit", lambda rows, epsilon: (rows, rows))
    else:
        monkeypatch.setattr(lean.Joined, "mlp", lambda self, rows: rows)
    found = draw(policy)
    assert policy.backbone.lean is None and policy.way == "packed"
    assert "are left to transformers, which is slower: their log-probabilities are off" in caplog.text
    assert torch.equal(found.tokens_BGR, wanted.tokens_BGR)


def test_unknown_parts_are_left_to_transformers(folder, caplog):
    policy = make_policy(folder)
    text = policy.backbone.text
    text.layers[1].extra = torch.nn.Identity()
    with pytest.raises(ValueError, match="Qwen2_5_VLDecoderLayer of extra, input_layernorm"):
        lean.Lean(text, [None, None])
    del text.layers[1].extra
    text.rotary_emb.rope_type = "dynamic"
    with pytest.raises(ValueError, match="rotary positions of type dynamic"):
        lean.Lean(text, [None, None])
    text.rotary_emb.rope_type = "default"
    text.norm = torch.nn.LayerNorm(32)
    with pytest.raises(ValueError, match="LayerNorm"):
        lean.Lean(text, [None, None])


def test_gradients_of_norms_and_rotations():
    made = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(size, generator=made).double().requires_grad_() for size in ((3, 2, 6), (6,)))
    assert torch.autograd.gradcheck(lambda x, w: lean._Norm.apply(x, w, 1e-5), (rows, weight))
    angle = torch.randn(3, 1, 3, generator=made).double().repeat(1, 1, 2)
    assert torch.autograd.gradcheck(lambda x: lean._Rotate.apply(x, angle.cos(), angle.sin()), (rows,))


@pytest.mark.parametrize(("off", "way"), [(5e-4, "packed"), (5e-3, "plain")])
def test_a_low_temperature_makes_rounding_larger(off, way, folder, monkeypatch):
    """Logits that are off by no more than rounding explains are so after a division by 0.05, too."""
    policy, temperature = make_policy(folder), 0.05
    prompts, completions = random_batch(policy, 7, (1, 1), 2, 5)
    exact = policy.logprobs_by

    def rounded(by, *rest):
        found = exact(by, *rest)
        return found if by == "plain" else replace(found, logprobs_BGR=found.logprobs_BGR + off / temperature)

    monkeypatch.setattr(policy, "logprobs_by", rounded)
    policy.check(prompts, completions, temperature)
    assert policy.tried.packed and policy.way == way and (policy.lean is not None) == (way == "packed")
