"""Families other than Qwen-VL: known families by the packed pass, others by the plain."""

from __future__ import annotations

import random

import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForImageTextToText

from family_helpers import (
    make_gemma3_folder,
    make_idefics3_folder,
    make_internvl_folder,
    make_llava_folder,
    make_llava_next_folder,
    make_smolvlm_folder,
)
from family_processors import make_mistral3_folder
from holdfast.errors import InputError
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.families import FAMILIES
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Sampling
from newer_families import (
    make_gemma4_folder,
    make_glm4v_folder,
    make_glm4v_moe_folder,
    make_glm46v_folder,
    make_qwen3_vl_moe_folder,
)
from policy_helpers import make_policy, random_image, random_text
from test_group_pass import assert_equal_passes, loss_and_gradients, random_batch

MAKERS = {
    "llava": make_llava_folder,
    "idefics3": make_idefics3_folder,
    "smolvlm": make_smolvlm_folder,
    "internvl": make_internvl_folder,
    "llava-next": make_llava_next_folder,
    "gemma3": make_gemma3_folder,
    "gemma4": make_gemma4_folder,
    "glm4v": make_glm4v_folder,
    "glm46v": make_glm46v_folder,
    "mistral3": make_mistral3_folder,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(params=sorted(MAKERS.keys() & FAMILIES.keys()))
def folder(folders, request):
    return folders[request.param]


@pytest.fixture(params=MAKERS)
def any_folder(folders, request):
    return folders[request.param]


def mixed(policy: Policy, seed: int = 0):
    rng = random.Random(seed)
    pictures = [random_image(rng, size) for size in ((48, 48), (64, 30), (40, 64))]
    images = [[pictures[0]], [], [pictures[1], pictures[0]], [pictures[2]]]
    texts = [random_text(rng, 3 + index) for index in range(len(images))]
    return texts, images, policy.encode(texts, images)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def processed(policy: Policy, text: str, pictures: list[Image.Image]):
    """What the checkpoint's own processor makes of a whole prompt."""
    content = [{"type": "image", "image": picture} for picture in pictures] + [{"type": "text", "text": text}]
    return policy.processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("images", [(1, 1), (2, 0, 1), (0, 0)])
def test_equals_plain_pass(folder, dtype, images, caplog):
    policy = make_policy(folder)
    assert policy.way == "packed" and not caplog.text
    policy.model.to(dtype)
    for seed, group, longest in ((1, 3, 6), (2, 1, 4)):
        assert_equal_passes(policy, *random_batch(policy, seed, images, group, longest))


@pytest.mark.parametrize("make", [make_glm4v_moe_folder, make_qwen3_vl_moe_folder])
def test_mixtures_equal_the_plain_pass(make, tmp_path, caplog):
    """In float32 alone: transformers multiplies experts' matrices in nothing wider."""
    policy = make_policy(make(tmp_path))
    for seed, images in enumerate(((1, 1), (2, 0, 1), (0, 0))):
        assert_equal_passes(policy, *random_batch(policy, seed, images, 3, 6))
    assert policy.way == "packed" and not caplog.text


@pytest.mark.slow
def test_every_parameter_that_matters_has_a_gradient(folder):
    policy = make_policy(folder)
    gradients = loss_and_gradients(policy, "packed", *random_batch(policy, 1, (1, 2), 2, 5))[2]
    wanted = loss_and_gradients(policy, "plain", *random_batch(policy, 1, (1, 2), 2, 5))[2]
    assert gradients.keys() == wanted.keys()
    moving = {name for name, gradient in gradients.items() if gradient.abs().max() > 0}
    for parts in (("patch_embed", "patch_conv"), ("proj",), ("lm_head", "embed_tokens"), ("embed_tokens",)):
        assert any(part in name for name in moving for part in parts), parts
    places = [name for name in gradients if "position_embedding" in name]
    assert set(places) <= moving


@pytest.mark.slow
def test_activation_checkpointing_and_temperature(folder):
    policy = make_policy(folder, activation_checkpointing=True)
    policy.model.double()
    assert_equal_passes(policy, *random_batch(policy, 6, (1, 2), 3, 6), temperature=0.7)


@pytest.mark.slow
def test_encode_equals_the_processor(any_folder):
    policy = make_policy(any_folder)
    texts, images, prompts = mixed(policy)
    assert prompts.images == ((0,), (), (1, 0), (2,))
    for row, (text, pictures) in enumerate(zip(texts, images, strict=True)):
        wanted = processed(policy, text, pictures)
        assert torch.equal(prompts.select([row]).tokens_BP, wanted["input_ids"])


def test_tokens_that_the_processor_adds_are_added(folders, tmp_path):
    policy = make_policy(folders["llava"])
    policy.tokenizer.bos_token = "<|endoftext|>"
    start = ("<|endoftext|>", policy.tokenizer.bos_token_id)
    policy.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[start]
    )
    policy.save(tmp_path)
    again = make_policy(tmp_path)
    picture = Image.new("RGB", (32, 32), "red")
    tokens = again.encode(["w1"], [[picture]]).tokens_BP
    assert tokens[0, 0] == start[1]
    assert torch.equal(tokens, processed(again, "w1", [picture])["input_ids"])


@pytest.mark.slow
def test_log_probabilities_are_those_of_the_whole_processor(any_folder):
    """No part of Holdfast's image handling stands between: one prompt, the processor's own batch."""
    policy = make_policy(any_folder)
    texts, images, prompts = mixed(policy)
    completions = policy.encode_completions(["w1 w2"] * 4)
    found = policy.group_logprobs(prompts, completions).logprobs_BGR
    for row, (text, pictures) in enumerate(zip(texts, images, strict=True)):
        inputs = processed(policy, text, pictures)
        length = inputs["input_ids"].shape[1]
        target = completions.tokens_BGR[row]
        tokens = torch.cat([inputs.pop("input_ids"), target], 1)
        inputs.pop("attention_mask")
        extra = {
            name: torch.nn.functional.pad(inputs.pop(name), (0, target.shape[1]))
            for name in ("token_type_ids", "mm_token_type_ids")
            if name in inputs
        }
        with torch.no_grad():
            logits = policy.model(input_ids=tokens, **inputs, **extra).logits[0, length - 1 : -1]
        wanted = (
            logits.masked_fill(policy.draw.banned_V, -1e30).log_softmax(-1).gather(-1, target[0][:, None])
        )
        torch.testing.assert_close(found[row, 0], wanted[:, 0], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_sampled_logprobs_equal_recomputed_ones(any_folder):
    policy = make_policy(any_folder)
    prompts = mixed(policy)[2]
    completions = policy.sample(prompts, 4, Sampling(max_tokens=12), generator(), greedy_row=True)
    for way in {policy.way, "plain"}:
        again = policy.logprobs_by(way, prompts, completions, 1.0)
        torch.testing.assert_close(again.logprobs_BGR, completions.logprobs_BGR, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_plain_sampling_draws_the_same(folder):
    policy = make_policy(folder)
    prompts = mixed(policy)[2]
    packed = policy.sample(prompts, 3, Sampling(max_tokens=10), generator(), greedy_row=True)
    policy.way = "plain"
    plain = policy.sample(prompts, 3, Sampling(max_tokens=10), generator(), greedy_row=True)
    assert torch.equal(packed.tokens_BGR, plain.tokens_BGR)


@pytest.mark.slow
def test_greedy_equals_generate(any_folder):
    policy = make_policy(any_folder)
    texts, images, prompts = mixed(policy)
    completions = policy.sample(prompts, 1, Sampling(temperature=0, max_tokens=12), generator())
    banned = policy.draw.banned_V.nonzero().squeeze(1).tolist()
    for row, (text, pictures) in enumerate(zip(texts, images, strict=True)):
        inputs = processed(policy, text, pictures)
        wanted = policy.model.generate(**inputs, do_sample=False, max_new_tokens=12, suppress_tokens=banned)
        wanted = wanted[0, inputs["input_ids"].shape[1] :].tolist()
        assert completions.tokens_BGR[row, 0][completions.mask_BGR[row, 0]].tolist() == wanted


@pytest.mark.parametrize("name", ["gemma3", "glm4v"])
def test_an_unknown_family_falls_back_with_one_warning(folders, name, caplog, monkeypatch):
    monkeypatch.delitem(FAMILIES, name)
    policy = make_policy(folders[name])
    prompts = mixed(policy)[2]
    completions = policy.sample(prompts, 2, Sampling(max_tokens=4), generator())
    policy.group_logprobs(prompts, completions).logprobs_BGR.sum().backward()
    assert policy.way == "plain"
    assert caplog.text.count("plain pass is slower") == 1
    assert "not among the architectures" in caplog.text


def test_images_are_processed_once(any_folder, monkeypatch):
    policy = make_policy(any_folder)
    calls = []
    real = type(policy.processor).__call__
    monkeypatch.setattr(
        type(policy.processor), "__call__", lambda self, *a, **k: calls.append(1) or real(self, *a, **k)
    )
    texts, images, first = mixed(policy)
    assert len(calls) == 3
    again = policy.encode(texts, images)
    assert len(calls) == 3
    assert all(one is other for one, other in zip(first.image_keys, again.image_keys, strict=True))


def test_a_picture_file_that_was_replaced_is_processed_again(any_folder, tmp_path):
    policy, keys = make_policy(any_folder), []
    for colour in ("red", "blue", "blue"):
        Image.new("RGB", (40, 40), colour).save(tmp_path / "a.bmp")
        keys.append(policy.encode(["w1"], [[tmp_path / "a.bmp"]]).image_keys)
    assert keys[0] != keys[1] == keys[2]


def test_no_image_token_is_ever_sampled(any_folder):
    policy = make_policy(any_folder)
    assert policy.draw.banned_V[policy.family.image_token]
    assert not policy.draw.banned_V[policy.tokenizer.convert_tokens_to_ids("w1")]


FRAMES = {"glm4v": "<|begin_of_image|> <|end_of_image|>", "gemma3": "<start_of_image> <end_of_image>"}


@pytest.mark.parametrize("family", FRAMES)
def test_no_token_that_frames_an_image_is_ever_sampled(folders, family):
    policy = make_policy(folders[family])
    assert policy.draw.banned_V[policy.tokenizer.convert_tokens_to_ids(FRAMES[family].split())].all()


@pytest.mark.slow
def test_frozen_features_are_encoded_once_and_equal(folder, monkeypatch):
    frozen, trained = make_policy(folder, freeze=("vision", "projector")), make_policy(folder)
    assert {name for name, p in frozen.model.named_parameters() if not p.requires_grad} == {
        name
        for name, _ in frozen.model.named_parameters()
        if not any(part in name for part in ("language_model", "text_model", "lm_head"))
    }
    prompts = mixed(frozen)[2]
    completions = frozen.encode_completions(["w1", "w2 w3", "w3", "w4"])
    wanted = trained.group_logprobs(prompts, completions).logprobs_BGR
    found = frozen.group_logprobs(prompts, completions).logprobs_BGR
    monkeypatch.setattr(type(frozen.model), "get_image_features", None)
    again = frozen.group_logprobs(prompts, completions).logprobs_BGR
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert torch.equal(found, again)


def test_only_the_projector_is_frozen(folder):
    policy = make_policy(folder, freeze=("projector",))
    frozen = [name for name, p in policy.model.named_parameters() if not p.requires_grad]
    names = ("projector", "connector", "merger", "embed_vision")
    assert frozen and all(any(part in name for part in names) for name in frozen)


@pytest.mark.slow
def test_save_and_load(any_folder, tmp_path):
    policy = make_policy(any_folder)
    policy.save(tmp_path)
    again = make_policy(tmp_path)
    stock = AutoModelForImageTextToText.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, stock[name]) for name, value in policy.model.state_dict().items())
    one, other = mixed(policy)[2], mixed(again)[2]
    assert torch.equal(one.tokens_BP, other.tokens_BP)
    for mine, its in zip(one.image_inputs, other.image_inputs, strict=True):
        assert all(torch.equal(mine[name], its[name]) for name in mine)


@pytest.mark.slow
def test_a_token_budget_splits_such_batches_too(folder):
    whole, split = make_policy(folder), make_policy(folder, token_budget=60)
    prompts = mixed(whole)[2]
    one, other = (policy.sample(prompts, 3, Sampling(max_tokens=6), generator()) for policy in (whole, split))
    assert torch.equal(one.tokens_BGR, other.tokens_BGR)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["packed", "plain"])
@pytest.mark.parametrize(
    "make",
    [
        lambda at: make_llava_folder(at, "full"),
        lambda at: make_idefics3_folder(at, 3),
        lambda at: make_smolvlm_folder(at, 5),
        lambda at: make_internvl_folder(at, 3),
    ],
)
def test_more_or_fewer_image_tokens_than_features(tmp_path, way, make):
    policy = make_policy(make(tmp_path))
    policy.way = way
    prompts = policy.encode(["w1", "w2"], [[], [Image.new("RGB", (32, 32), "red")]])
    completions = Completions(*(torch.ones(2, 1, 1, dtype=kind) for kind in (torch.long, torch.bool)),
                              torch.ones(2, 1, dtype=torch.bool))  # fmt: skip
    with pytest.raises(InputError, match=r"puts \d+ image tokens into prompt 1, but .* makes \d+ features"):
        policy.logprobs_by(way, prompts, completions, 1.0)
    with pytest.raises(InputError, match="into prompt 1"):
        policy.sample(prompts, 2, Sampling(max_tokens=2), generator())


def test_an_image_that_the_processor_refuses(any_folder, monkeypatch):
    policy = make_policy(any_folder)

    def refuse(*args, **kwargs):
        raise ValueError("at least 10 pixels")

    with pytest.raises(InputError, match=r"image of prompt 1 cannot be used: it has no pixels \(0 x 5\)"):
        policy.encode(["w1", "w2"], [[], [Image.new("RGB", (0, 5))]])
    policy.encode(["w1"], [[Image.new("RGB", (1, 1))]])
    monkeypatch.setattr(type(policy.processor.image_processor), "__call__", refuse)
    with pytest.raises(InputError, match=r"image of prompt 1 .*Processor refuses it \(at least 10 pixels\)"):
        policy.encode(["w1", "w2"], [[], [Image.new("RGB", (5, 5))]])


@pytest.mark.slow
def test_negative_control(folder, monkeypatch):
    """An off-by-one in positions must not pass for rounding."""
    policy = make_policy(folder)
    policy.model.double()
    batch = random_batch(policy, 9, (1, 1), 3, 6)
    monkeypatch.setattr(
        Prompts, "next_positions_B", property(lambda self: self.positions_KBP.amax((0, 2)) + 2)
    )
    with pytest.raises(AssertionError):
        assert_equal_passes(policy, *batch)


def test_image_token_in_the_text(any_folder):
    policy = make_policy(any_folder)
    with pytest.raises(InputError, match=r"Prompt 0 has 1 image tokens .* 0 images"):
        policy.encode([f"w1 {policy.processor.image_token}"], [[]])


def test_pixel_bounds_are_for_qwen(folder):
    with pytest.raises(InputError, match="Remove the two settings"):
        make_policy(folder, max_pixels=1000)


@pytest.mark.slow
def test_adapters(folder):
    pytest.importorskip("peft")
    policy = make_policy(folder, path=str(folder), lora={"rank": 3, "alpha": 6})
    policy.model.double()
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3, generator=generator(1))
    batch = random_batch(policy, 5, (1, 2, 0), 3, 6)
    assert_equal_passes(policy, *batch)
    assert all("lora_" in name for name in loss_and_gradients(policy, "packed", *batch)[2])


def test_a_processor_that_does_not_say_what_stands_for_an_image(folders, monkeypatch):
    policy = make_policy(folders["llava"])
    real = type(policy.processor).__call__

    def silent(self, *args, return_text_replacement_offsets, **kwargs):
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(policy.processor), "__call__", silent)
    with pytest.raises(InputError, match="does not tell what stands for an image"):
        policy.encode(["w1"], [[Image.new("RGB", (32, 32))]])
