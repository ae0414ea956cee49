"""The packed group pass equals the plain pass: log-probabilities, loss and every gradient."""

from __future__ import annotations

import json
import random

import pytest
import torch

from family_helpers import make_qwen2_folder
from holdfast.policy import logprobs
from holdfast.policy.batch import Completions, GroupLogprobs, Prompts
from holdfast.policy.groups import GroupLayout
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Sampling
from policy_helpers import (
    make_folder,
    make_policy,
    make_qwen3_folder,
    make_text_folder,
    random_image,
    random_text,
)
from test_text_models import make_folder as make_unknown_folder

SPANS = {torch.float64: 1e-6, torch.float32: 1e-3}  # transformers rounds norms to float32 even in float64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def windowed_folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("windowed"), windowed=True)


def random_batch(
    policy: Policy, seed: int, images_per_prompt: tuple[int, ...], group: int, longest: int
) -> tuple[Prompts, Completions]:
    """Prompts of random length with images of several sizes, and completions of random length (0 too)."""
    rng = random.Random(seed)
    pictures = [random_image(rng, size) for size in ((48, 48), (48, 48), (64, 32), (16, 48))]
    prompts = policy.encode(
        [random_text(rng, rng.randrange(1, 12)) for _ in images_per_prompt],
        [[rng.choice(pictures) for _ in range(count)] for count in images_per_prompt],
    )
    generator = torch.Generator().manual_seed(seed)
    shape = (len(prompts), group, longest)
    lengths = torch.randint(0, longest + 1, shape[:2], generator=generator)
    lengths[0, 0] = longest
    mask = torch.arange(longest) < lengths[..., None]
    tokens = torch.randint(8, 200, shape, generator=generator).masked_fill(~mask, 0)
    return prompts, Completions(tokens, mask, torch.ones(shape[:2], dtype=torch.bool))


def loss_and_gradients(
    policy: Policy, way: str, prompts: Prompts, completions: Completions, temperature: float = 1.0
) -> tuple[GroupLogprobs, torch.Tensor, dict[str, torch.Tensor]]:
    policy.model.zero_grad(set_to_none=True)
    result = policy.logprobs_by(way, prompts, completions, temperature)
    weights = torch.randn(completions.tokens_BGR.shape, generator=torch.Generator().manual_seed(5))
    loss = (result.logprobs_BGR * weights).sum() / completions.mask_BGR.sum()
    loss.backward()
    gradients = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    return result, loss.detach(), gradients


def assert_equal_passes(
    policy: Policy, prompts: Prompts, completions: Completions, temperature: float = 1.0
) -> None:
    span = SPANS[policy.model.dtype]
    packed, loss, gradients = loss_and_gradients(policy, "packed", prompts, completions, temperature)
    plain, plain_loss, plain_gradients = loss_and_gradients(
        policy, "plain", prompts, completions, temperature
    )
    torch.testing.assert_close(packed.logprobs_BGR, plain.logprobs_BGR, rtol=0, atol=span)
    torch.testing.assert_close(packed.entropy_BGR, plain.entropy_BGR, rtol=0, atol=span)
    torch.testing.assert_close(loss, plain_loss, rtol=0, atol=span)
    assert not packed.logprobs_BGR[~completions.mask_BGR].any()
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in gradients.items():
        scale = plain_gradients[name].abs().max().item() + 1e-3
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=0, atol=span * scale, msg=name)


def assert_samples_as_plain(policy: Policy) -> None:
    """What it draws with and without a picture has the log-probabilities of the plain pass."""
    prompts = random_batch(policy, 1, (1, 0), 1, 1)[0]
    generator = torch.Generator().manual_seed(0)
    completions = policy.sample(prompts, 3, Sampling(max_tokens=8), generator, greedy_row=True)
    again = policy.logprobs_by("plain", prompts, completions, 1.0)
    torch.testing.assert_close(again.logprobs_BGR, completions.logprobs_BGR, rtol=0, atol=1e-4)


BATCHES = {
    "one image each": (1, 1, 1),
    "several images, and none": (2, 0, 1, 3),
    "no image": (0, 0),
    "one prompt": (1,),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("images", BATCHES.values(), ids=BATCHES)
def test_equals_plain_pass(folder, images, dtype):
    policy = make_policy(folder)
    policy.model.to(dtype)
    for seed, group, longest in ((1, 3, 7), (2, 1, 4), (3, 5, 1)):
        assert_equal_passes(policy, *random_batch(policy, seed, images, group, longest))


def test_every_parameter_has_a_gradient(folder):
    policy = make_policy(folder)
    batch = random_batch(policy, 1, (1, 2), 2, 5)
    gradients = loss_and_gradients(policy, "packed", *batch)[2]
    assert gradients.keys() == {name for name, _ in policy.model.named_parameters()}
    assert all(
        gradient.abs().max() > 0 for name, gradient in gradients.items() if not name.endswith("k_proj.bias")
    )


def test_window_attention_in_the_vision_tower(windowed_folder):
    policy = make_policy(windowed_folder)
    policy.model.double()
    assert_equal_passes(policy, *random_batch(policy, 4, (1, 2, 0), 2, 5))


def test_temperature(folder):
    policy = make_policy(folder)
    policy.model.double()
    assert_equal_passes(policy, *random_batch(policy, 4, (1, 0), 2, 5), temperature=0.7)


def test_activation_checkpointing(folder):
    policy = make_policy(folder, activation_checkpointing=True)
    policy.model.double()
    batch = random_batch(policy, 6, (1, 2), 3, 6)
    assert_equal_passes(policy, *batch)
    kept = loss_and_gradients(policy, "packed", *batch)
    reference = make_policy(folder)
    reference.model.double()
    plain = loss_and_gradients(reference, "packed", *batch)
    torch.testing.assert_close(kept[1], plain[1])
    for name, gradient in plain[2].items():
        torch.testing.assert_close(kept[2][name], gradient, rtol=0, atol=1e-6)


def test_dropout_is_off_where_activations_are_checkpointed(tmp_path):
    path = make_unknown_folder(tmp_path, "stablelm") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attention_dropout": 0.5}))
    policy, reference = make_policy(tmp_path, activation_checkpointing=True), make_policy(tmp_path)
    batch, calls = random_batch(policy, 5, (0, 0), 2, 6), []
    policy.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(0))
    found, *_, gradients = loss_and_gradients(policy, "plain", *batch)
    assert len(calls) == 2  # the backward pass computes it again
    wanted, *_, wanted_gradients = loss_and_gradients(reference, "plain", *batch)
    assert torch.equal(found.logprobs_BGR, wanted.logprobs_BGR)
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-6)


def test_head_in_chunks(folder, monkeypatch):
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 2000)
    policy = make_policy(folder)
    policy.model.double()
    assert_equal_passes(policy, *random_batch(policy, 7, (1, 1), 4, 8))


def test_frozen_vision(folder):
    policy = make_policy(folder, freeze=("vision", "projector"))
    gradients = loss_and_gradients(policy, "packed", *random_batch(policy, 1, (1, 1), 2, 4))[2]
    assert gradients
    assert not any("visual" in name for name in gradients)


def test_bfloat16_is_close(folder):
    policy = make_policy(folder, dtype="bfloat16")
    batch = random_batch(policy, 8, (1, 0, 2), 3, 6)
    packed, plain = (policy.logprobs_by(way, *batch, 1.0).logprobs_BGR for way in ("packed", "plain"))
    assert (packed - plain).abs().max() < 0.5
    assert packed.dtype == torch.float32


@pytest.mark.parametrize("fault", ["position", "mask"])
def test_negative_control(folder, fault, monkeypatch):
    """An off-by-one in positions or mask must not pass for rounding."""
    policy = make_policy(folder)
    policy.model.double()
    batch = random_batch(policy, 9, (1, 1), 3, 6)
    if fault == "position":
        monkeypatch.setattr(
            Prompts, "next_positions_B", property(lambda self: self.positions_KBP.amax((0, 2)) + 2)
        )
    else:
        sees = GroupLayout._completions_see

        def shifted(self, window):
            prompt_BRP, own_BRR = sees(self, window).tensor_split([self.longest_prompt], -1)
            return torch.cat([prompt_BRP, own_BRR.roll(1, 1)], -1)

        monkeypatch.setattr(GroupLayout, "_completions_see", shifted)
    with pytest.raises(AssertionError):
        assert_equal_passes(policy, *batch)


def test_first_use_check_falls_back(folder, monkeypatch, caplog):
    policy = make_policy(folder)
    prompts, completions = random_batch(policy, 9, (1, 1), 3, 6)
    expected = policy.logprobs_by("plain", prompts, completions, 1.0).logprobs_BGR
    monkeypatch.setattr(
        Prompts, "next_positions_B", property(lambda self: self.positions_KBP.amax((0, 2)) + 2)
    )
    result = policy.group_logprobs(prompts, completions)
    assert policy.way == "plain"
    assert "differ" in caplog.text
    torch.testing.assert_close(result.logprobs_BGR, expected)


def test_first_use_check_passes(folder, caplog):
    policy = make_policy(folder)
    policy.group_logprobs(*random_batch(policy, 9, (1, 1), 3, 6))
    assert policy.way == "packed"
    assert not caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_qwen2_folder, make_qwen3_folder])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_other_qwen_vl(tmp_path, make, dtype):
    """Qwen2-VL has no windows; Qwen3-VL has DeepStack."""
    policy = make_policy(make(tmp_path), activation_checkpointing=dtype == torch.float64)
    policy.model.to(dtype)
    assert policy.way == "packed"
    for images in ((1, 2, 0), (0, 0)):
        batch = random_batch(policy, 4, images, 3, 5)
        assert_equal_passes(policy, *batch, temperature=0.7)
    assert policy.group_logprobs(*batch) and policy.way == "packed"


@pytest.mark.parametrize("make", [make_qwen2_folder, make_qwen3_folder])
def test_every_parameter_of_other_qwen_vl_has_a_gradient(tmp_path, make):
    policy = make_policy(make(tmp_path))
    gradients = loss_and_gradients(policy, "packed", *random_batch(policy, 1, (1, 2), 2, 5))[2]
    assert gradients.keys() == {name for name, _ in policy.model.named_parameters()}
    assert any("visual.patch_embed" in name for name in gradients)
    assert all(
        gradient.abs().max() > 0 for name, gradient in gradients.items() if not name.endswith("k_proj.bias")
    )


def test_text_only_model(tmp_path):
    policy = make_policy(make_text_folder(tmp_path))
    policy.model.double()
    assert policy.way == "packed"
    assert_equal_passes(policy, *random_batch(policy, 4, (0, 0, 0), 3, 5))


def test_unknown_architecture_uses_the_plain_pass(tmp_path, caplog):
    policy = make_policy(make_unknown_folder(tmp_path, "stablelm"))
    assert policy.way == "plain"
    assert "does not attend once in every layer, as it says" in caplog.text
    prompts, _ = random_batch(policy, 4, (0, 0), 1, 1)
    completions = policy.sample(prompts, 3, Sampling(max_tokens=6), torch.Generator().manual_seed(0))
    again = policy.group_logprobs(prompts, completions)
    torch.testing.assert_close(again.logprobs_BGR, completions.logprobs_BGR, rtol=0, atol=1e-4)


def test_a_part_of_a_batch_gives_the_same(folder):
    policy = make_policy(folder)
    prompts, completions = random_batch(policy, 11, (2, 0, 1, 3), 4, 6)
    every = policy.group_logprobs(prompts, completions).logprobs_BGR
    rows = [3, 1]
    part = policy.group_logprobs(prompts.select(rows), completions.select(rows).columns(slice(1, 3)))
    torch.testing.assert_close(part.logprobs_BGR, every[rows, 1:3], rtol=0, atol=1e-4)
