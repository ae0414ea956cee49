"""Layers whose tokens see a window back, and images whose tokens see one another, by the packed pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from family_helpers import make_gemma3_folder
from holdfast.policy import stretches
from holdfast.policy.attention import FULL, SLIDING
from holdfast.policy.groups import GroupLayout
from holdfast.policy.policy import Policy
from holdfast.policy.prefill import layout_of
from holdfast.policy.settings import Sampling
from newer_families import make_gemma4_folder
from policy_helpers import make_policy
from test_group_pass import assert_equal_passes, random_batch
from test_text_models import make_folder

BOTH = {"layer_types": [SLIDING, FULL], "sliding_window": 4}
MODELS = {  # and whether its layers are written out
    "qwen2": (BOTH | {"use_sliding_window": True}, True),
    "qwen3": (BOTH | {"use_sliding_window": True, "head_dim": 8}, True),
    "mistral": ({"sliding_window": 3}, True),  # all its layers
    "olmo3": (BOTH, False),  # norms after attention and MLP
    "gemma3_text": (BOTH | {"head_dim": 8}, False),  # a rotation for each kind of layer
}

VISION = {"gemma3": make_gemma3_folder, "gemma4": make_gemma4_folder}


def make(folder: Path, kind: str) -> Policy:
    if kind in VISION:
        return make_policy(VISION[kind](folder))
    return make_policy(make_folder(folder, kind, **MODELS[kind][0]))


@pytest.fixture(params=[*MODELS, *VISION])
def policy(tmp_path, request):
    return make(tmp_path, request.param)


def batch(policy: Policy, seed: int, group: int, longest: int) -> Any:
    images = (0, 0, 0) if policy.model.config.model_type in MODELS else (1, 0, 2)
    return random_batch(policy, seed, images, group, longest)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_plain_pass(policy, dtype, caplog):
    kind = policy.model.config.model_type
    assert policy.way == "packed" and "plain pass" not in caplog.text
    assert (policy.lean is not None) == MODELS.get(kind, ({}, False))[1]
    policy.model.to(dtype)
    for seed, group, longest in ((1, 3, 9), (2, 1, 4), (3, 2, 1)):  # longer than a window, and shorter
        assert_equal_passes(policy, *batch(policy, seed, group, longest))


@pytest.mark.slow
def test_what_is_sampled_is_found_again(policy, monkeypatch):
    """By the ordinary decode and by stretches, from held prompts, with all that came after a step."""
    prompts = batch(policy, 4, 1, 1)[0]
    how, drawn = Sampling(max_tokens=14, temperature=0.5), {}
    for replays, stretch in ((False, 64), (True, 5)):
        monkeypatch.setattr(stretches, "STRETCH", stretch)
        policy.backbone.replays, generator = replays, torch.Generator().manual_seed(1)
        known = policy.prefill(prompts)
        drawn[replays] = policy.sample(prompts, 4, how, generator, greedy_row=True, prefilled=known)
    assert torch.equal(drawn[False].tokens_BGR, drawn[True].tokens_BGR)
    for completions in drawn.values():
        for way in ("packed", "plain"):
            again = policy.logprobs_by(way, prompts, completions, 0.5).logprobs_BGR
            torch.testing.assert_close(again, completions.logprobs_BGR, rtol=0, atol=2e-4)
    gradients = []
    for held in (known, None):
        policy.model.zero_grad(set_to_none=True)
        policy.group_logprobs(prompts, drawn[True], prefilled=held).logprobs_BGR.sum().backward()
        gradients.append({name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-3, atol=1e-4, msg=name)


def test_a_window_matters(tmp_path):
    """A negative control: with all tokens before, log-probabilities are others."""
    policy = make(tmp_path, "mistral")
    prompts, completions = batch(policy, 1, 3, 9)
    policy.lean.layers[0].window = None
    found = policy.logprobs_by("packed", prompts, completions, 1.0).logprobs_BGR
    wanted = policy.logprobs_by("plain", prompts, completions, 1.0).logprobs_BGR
    assert (found - wanted).abs().max() > 1e-3


def test_who_sees_whom():
    """By hand: a prompt of 4 tokens, of which the second and third are an image, and a completion of 3."""
    pictures_N = torch.tensor([0, 1, 1, 0])
    layout = GroupLayout(torch.tensor([4]), torch.tensor([[3]]), pictures_N=pictures_N, ahead={SLIDING})
    seen = layout._mask("prompts", None, ahead=True)[0, 0] == 0
    assert seen.int().tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    seen = layout._mask("prompts", 2, ahead=True)[0, 0] == 0
    assert seen.int().tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    seen = layout._mask("completions", 3)[0] == 0
    assert seen.int().tolist() == [
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 1],
    ]


def test_images_that_follow_one_another_are_apart(tmp_path):
    policy = make(tmp_path, "gemma3")
    picture = Image.new("RGB", (32, 32), "red")
    prompts = policy.encode(["w1 w2 w3", "w1"], [[picture, picture], []])
    pictures_BP = layout_of(policy.backbone, prompts).pictures_BP
    assert [int((pictures_BP[0] == number).sum()) for number in (1, 2, 3)] == [4, 4, 0]
    assert not pictures_BP[1].any()


def test_a_layer_that_sees_other_tokens_is_left_to_the_plain_pass(tmp_path, caplog):
    chunks = {"layer_types": ["chunked_attention", FULL], "num_local_experts": 2, "head_dim": 8,
              "intermediate_size_mlp": 32}  # fmt: skip
    assert make_policy(make_folder(tmp_path, "llama4_text", **chunks)).way == "plain"
    assert "see other tokens than those that came before" in caplog.text


def test_layers_that_slide_otherwise_than_it_says_are_left_to_the_plain_pass(tmp_path, caplog):
    """Qwen3-MoE's all slide or none, whatever `layer_types` says."""
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    folder = make_folder(tmp_path, "qwen3_moe", use_sliding_window=True, **BOTH, **experts)
    assert make_policy(folder).way == "plain"
    assert "does not attend once in every layer, as it says" in caplog.text
