"""Loading, encoding, sampling, decoding and saving."""

from __future__ import annotations

import gc
import json
import random
import shutil
import weakref

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    GraniteConfig,
    GraniteForCausalLM,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from family_helpers import make_llava_folder, make_qwen2_folder
from holdfast.errors import HoldfastError, InputError
from holdfast.policy import environment, images, sampling
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.cache import ByteCache
from holdfast.policy.families.family import Family
from holdfast.policy.families.qwen_vl import QwenVL
from holdfast.policy.head import Head
from holdfast.policy.policy import Policy
from holdfast.policy.processor import load_processor
from holdfast.policy.ready import check_ready
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from policy_helpers import (
    make_folder,
    make_policy,
    make_qwen3_folder,
    make_text_folder,
    random_image,
    random_text,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def policy(folder):
    return make_policy(folder)


def mixed_prompts(policy: Policy, seed: int = 0):
    rng = random.Random(seed)
    pictures = [random_image(rng) for _ in range(2)] + [random_image(rng, (70, 30))]
    images = [[pictures[0]], [], [pictures[1], pictures[0]], [pictures[2]]]
    texts = [random_text(rng, 3 + index) for index in range(len(images))]
    return texts, images, policy.encode(texts, images)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_encode_equals_the_processor(policy):
    texts, images, prompts = mixed_prompts(policy)
    # The one for Pillow: torchvision's twin, taken where it is installed, rounds differently in resizing.
    settings = policy.processor.image_processor.to_dict()
    policy.processor.image_processor = Qwen2VLImageProcessorPil.from_dict(settings)
    for row, (text, pictures) in enumerate(zip(texts, images, strict=True)):
        content = [{"type": "image"}] * len(pictures) + [{"type": "text", "text": text}]
        rendered = policy.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        wanted = policy.processor(images=pictures or None, text=[rendered], return_tensors="pt")
        only = prompts.select([row])
        assert torch.equal(only.tokens_BP, wanted["input_ids"])
        if pictures:
            assert torch.equal(only.image_grid_thw, wanted["image_grid_thw"])
            assert torch.equal(only.pixel_values, wanted["pixel_values"])
            positions, _ = policy.model.model.get_rope_index(
                wanted["input_ids"], wanted["mm_token_type_ids"], wanted["image_grid_thw"]
            )
            assert torch.equal(only.positions_KBP, positions)


def test_each_distinct_image_is_kept_once(policy):
    prompts = mixed_prompts(policy)[2]
    assert prompts.images == ((0,), (), (1, 0), (2,))
    assert len(prompts.image_grid_thw) == 3


def test_system_prompt(folder):
    with_system = make_policy(folder, system_prompt="w1 w2").encode(["w3"], [[]])
    without = make_policy(folder).encode(["w3"], [[]])
    assert with_system.tokens_BP.shape[1] > without.tokens_BP.shape[1]


def test_greedy_equals_generate(policy):
    prompts = mixed_prompts(policy)[2]
    completions = policy.sample(prompts, 1, Sampling(temperature=0, max_tokens=20), generator())
    banned = policy.draw.banned_V.nonzero().squeeze(1).tolist()
    for row in range(len(prompts)):
        only = prompts.select([row])
        inputs = {"input_ids": only.tokens_BP, "attention_mask": only.mask_BP.long()}
        if only.pixel_values is not None:
            inputs |= {
                "pixel_values": only.pixel_values,
                "image_grid_thw": only.image_grid_thw,
                "mm_token_type_ids": (only.tokens_BP == policy.model.config.image_token_id).int(),
            }
        wanted = policy.model.generate(**inputs, do_sample=False, max_new_tokens=20, suppress_tokens=banned)
        wanted = wanted[0, only.tokens_BP.shape[1] :]
        assert completions.tokens_BGR[row, 0][completions.mask_BGR[row, 0]].tolist() == wanted.tolist()


@pytest.mark.parametrize(
    "how", [Sampling(max_tokens=24), Sampling(max_tokens=24, temperature=1.3, top_p=0.8)]
)
def test_sampled_logprobs_equal_recomputed_ones(policy, how):
    prompts = mixed_prompts(policy)[2]
    completions = policy.sample(prompts, 6, how, generator(), greedy_row=True)
    assert completions.tokens_BGR.shape[:2] == (4, 7)
    assert len(set(completions.lengths_BG.flatten().tolist())) > 3  # rows did leave the batch
    again = policy.group_logprobs(prompts, completions, how.temperature)
    torch.testing.assert_close(again.logprobs_BGR, completions.logprobs_BGR, rtol=0, atol=1e-4)
    plain = policy.logprobs_by("plain", prompts, completions, how.temperature)
    torch.testing.assert_close(plain.logprobs_BGR, completions.logprobs_BGR, rtol=0, atol=1e-4)


def test_greedy_row_is_the_greedy_completion(policy):
    prompts = mixed_prompts(policy)[2]
    both = policy.sample(prompts, 3, Sampling(max_tokens=16), generator(), greedy_row=True)
    greedy = policy.sample(prompts, 1, Sampling(max_tokens=16, temperature=0), generator())
    for row in range(len(prompts)):
        last = both.columns(slice(-1, None))
        assert (
            last.tokens_BGR[row][last.mask_BGR[row]].tolist()
            == greedy.tokens_BGR[row][greedy.mask_BGR[row]].tolist()
        )


def test_plain_sampling_draws_the_same(policy):
    prompts = mixed_prompts(policy)[2]
    packed = policy.sample(prompts, 3, Sampling(max_tokens=10), generator(), greedy_row=True)
    policy.way = "plain"
    plain = policy.sample(prompts, 3, Sampling(max_tokens=10), generator(), greedy_row=True)
    assert torch.equal(packed.tokens_BGR, plain.tokens_BGR)
    assert torch.equal(packed.finished_BG, plain.finished_BG)
    torch.testing.assert_close(packed.logprobs_BGR, plain.logprobs_BGR, rtol=0, atol=1e-4)


def test_sampling_is_deterministic_and_depends_on_the_generator_alone(policy):
    prompts = mixed_prompts(policy)[2]
    first = policy.sample(prompts, 4, Sampling(max_tokens=12), generator(3))
    torch.manual_seed(99)
    second = policy.sample(prompts, 4, Sampling(max_tokens=12), generator(3))
    assert torch.equal(first.tokens_BGR, second.tokens_BGR)
    assert torch.equal(first.logprobs_BGR, second.logprobs_BGR)
    other = policy.sample(prompts, 4, Sampling(max_tokens=12), generator(4))
    assert not torch.equal(first.tokens_BGR[..., :2], other.tokens_BGR[..., :2])


def test_draws_do_not_depend_on_when_rows_are_dropped(policy, monkeypatch):
    prompts = mixed_prompts(policy)[2]
    drawn = []
    for share in (0.0, 0.3, 2.0):  # at once, seldom, never
        monkeypatch.setattr(sampling, "DROP_SHARE", share)
        drawn.append(policy.sample(prompts, 5, Sampling(max_tokens=20), generator(), greedy_row=True))
    for other in drawn[1:]:
        assert torch.equal(drawn[0].tokens_BGR, other.tokens_BGR)
        torch.testing.assert_close(drawn[0].logprobs_BGR, other.logprobs_BGR, rtol=0, atol=1e-4)


def test_completions_are_well_formed(policy):
    prompts = mixed_prompts(policy)[2]
    completions = policy.sample(prompts, 8, Sampling(max_tokens=24), generator())
    ends = set(policy.draw.ends.tolist())
    for b in range(len(prompts)):
        for g in range(8):
            tokens = completions.tokens_BGR[b, g][completions.mask_BGR[b, g]].tolist()
            assert not set(tokens[:-1]) & ends
            assert (tokens[-1] in ends) == bool(completions.finished_BG[b, g])
            assert completions.finished_BG[b, g] or len(tokens) == 24
            assert not policy.draw.banned_V[tokens].any()


def test_sampling_follows_the_distribution(policy):
    prompts = policy.encode(["w1"], [[]])
    tokens = policy.sample(prompts, 4000, Sampling(max_tokens=1), generator()).tokens_BGR.flatten()
    every = torch.arange(len(policy.draw.banned_V)).view(1, -1, 1)
    one = Completions(
        every, torch.ones_like(every, dtype=torch.bool), torch.ones(every.shape[:2], dtype=torch.bool)
    )
    with torch.no_grad():
        wanted = policy.group_logprobs(prompts, one).logprobs_BGR.flatten().exp()
    found = torch.bincount(tokens, minlength=len(wanted)) / len(tokens)
    assert (found - wanted).abs().max() < 0.03
    assert not found[policy.draw.banned_V].any()


def test_top_p_keeps_the_nucleus(policy):
    prompts = policy.encode(["w1"], [[]])
    narrow = policy.sample(prompts, 500, Sampling(max_tokens=1, top_p=1e-6), generator())
    greedy = policy.sample(prompts, 1, Sampling(max_tokens=1, temperature=0), generator())
    assert (narrow.tokens_BGR == greedy.tokens_BGR).all()


def test_targets_and_decode(policy):
    texts = ["<think> w1 w2 </think> w3", "w4"]
    targets = policy.encode_completions(texts)
    assert targets.tokens_BGR.shape == (2, 1, 6)
    assert targets.tokens_BGR[1, 0, 1] == policy.tokenizer.eos_token_id
    assert targets.lengths_BG.tolist() == [[6], [2]]
    assert policy.decode(targets) == [[texts[0]], [texts[1]]]


@pytest.mark.parametrize("make", [make_folder, make_llava_folder])
def test_a_new_policy_is_shown_a_picture_on_its_device(make, tmp_path, monkeypatch):
    """All tensors of the picture, of which an encoder leaves some on the CPU."""
    shown, to = [], Prompts.to

    def moved(prompts, device):
        shown.append(device)
        return to(prompts, device)

    monkeypatch.setattr(Prompts, "to", moved)
    for family in (Family, QwenVL):
        monkeypatch.setattr(family, "features", lambda *_: shown.append("features"))
    policy = make_policy(make(tmp_path))
    assert shown == [policy.device, "features"]


def test_save_and_load_are_exact(policy, tmp_path):
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.01)
    policy.save(tmp_path / "saved")
    again = make_policy(tmp_path / "saved")
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path / "saved")
    for other in (again.model, stock):
        state = other.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in policy.model.state_dict().items())
    assert torch.equal(mixed_prompts(again)[2].pixel_values, mixed_prompts(policy)[2].pixel_values)
    assert torch.equal(again.draw.ends, policy.draw.ends)


def test_a_snapshot_stays_as_it_was(policy):
    prompts = mixed_prompts(policy)[2]
    completions = policy.encode_completions(["w1", "w2", "w3", "w4"])
    snapshot = policy.snapshot()
    before = policy.group_logprobs(prompts, completions).logprobs_BGR.detach()
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.01)
    after = policy.group_logprobs(prompts, completions).logprobs_BGR
    assert not torch.equal(before, after)
    assert torch.equal(before, snapshot.group_logprobs(prompts, completions).logprobs_BGR)
    assert torch.equal(after, policy.group_logprobs(prompts, completions).logprobs_BGR)
    after.sum().backward()  # through the weights that were put aside meanwhile


def test_the_processor_takes_images(folder):
    loaded = load_processor(folder, text_only=False)
    out = loaded(images=[Image.new("RGB", (48, 48))], text=["<|image_pad|> w1"], return_tensors="pt")
    assert out["input_ids"].shape == (1, 10)


def test_pixel_bounds(folder):
    small = make_policy(folder, max_pixels=32 * 32).encode(["w1"], [[Image.new("RGB", (64, 64))]])
    assert small.image_grid_thw.tolist() == [[1, 4, 4]]


def test_prompt_longer_than_context(folder):
    policy = make_policy(folder, max_context=20)
    with pytest.raises(InputError, match=r"Prompt 1 has .* context of 20"):
        policy.encode(["w1", "w1 " * 30], [[], []])
    with pytest.raises(InputError, match="max_tokens 15"):
        policy.sample(policy.encode(["w1 w2 w3 w4"], [[]]), 1, Sampling(max_tokens=15), generator())


def test_image_token_in_text(policy):
    with pytest.raises(InputError, match=r"Prompt 0 has 1 image tokens .* 0 images"):
        policy.encode(["w1 <|image_pad|>"], [[]])
    with pytest.raises(InputError, match=r"Target 0 contains <\|image_pad\|>"):
        policy.encode_completions(["<|image_pad|>"])


def test_impossible_image(policy):
    with pytest.raises(InputError, match="image of prompt 1"):
        policy.encode(["w1", "w2"], [[Image.new("RGB", (48, 48))], [Image.new("RGB", (2000, 2))]])


def test_nan_names_the_example(policy):
    prompts = mixed_prompts(policy)[2]
    completions = policy.encode_completions(["w1", "w2", "w3", "w4"])
    prompts.pixel_values[: 6 * 6] = torch.nan  # image 0, shown by prompts 0 and 2
    with pytest.raises(HoldfastError, match="example 0"):
        policy.sample(prompts, 2, Sampling(max_tokens=3), generator())
    with pytest.raises(HoldfastError, match="example 1"):
        policy.group_logprobs(prompts.select([1, 2]), completions.select([0, 1]))


def test_folder_without_weights(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match="has no weights"):
        make_policy(copy)
    (copy / "pytorch_model.bin").touch()
    with pytest.raises(InputError, match="converted to safetensors"):
        make_policy(copy)


def test_not_a_model_folder(tmp_path):
    with pytest.raises(InputError, match=r"no config.json"):
        make_policy(tmp_path)
    with pytest.raises(InputError, match="no model folder"):
        make_policy(tmp_path / "missing")


def test_damaged_weights(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(
        InputError, match=r"are damaged \(it has \d+ bytes instead of \d+\); copy or download"
    ):
        Policy.load(copy, ModelSettings())


def test_incomplete_weights(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    weights.pop(
        "visual.merger.ln_q.weight" if "visual.merger.ln_q.weight" in weights else sorted(weights)[-1]
    )
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="incomplete"):
        Policy.load(copy, ModelSettings())


@pytest.mark.parametrize("make", [make_qwen2_folder, make_qwen3_folder, make_text_folder])
def test_other_architectures_sample(tmp_path, make):
    policy = make_policy(make(tmp_path))
    pictures = [[], []] if make is make_text_folder else [[Image.new("RGB", (48, 48), "red")], []]
    prompts = policy.encode(["w1 w2 w3", "w4"], pictures)
    completions = policy.sample(prompts, 4, Sampling(max_tokens=8), generator(), greedy_row=True)
    again = policy.group_logprobs(prompts, completions)
    torch.testing.assert_close(again.logprobs_BGR, completions.logprobs_BGR, rtol=0, atol=1e-4)
    policy.way = "plain"
    plain = policy.sample(prompts, 4, Sampling(max_tokens=8), generator(), greedy_row=True)
    assert torch.equal(completions.tokens_BGR, plain.tokens_BGR)
    policy.save(tmp_path / "saved")
    assert make_policy(tmp_path / "saved").way == "packed"


def test_sampling_is_checked_before_it_is_used(tmp_path, caplog, monkeypatch):
    """Granite divides its logits, which this packed pass does not know: a temperature of its own."""
    monkeypatch.setattr(Head, "_try", lambda *_: None)  # which finds it as the model is loaded
    monkeypatch.setattr(Head, "_after", lambda _, logits: logits)
    config = AutoConfig.from_pretrained(make_text_folder(tmp_path)).to_dict()
    granite = GraniteConfig(**{k: v for k, v in config.items() if k != "model_type"}, logits_scaling=4.0)
    torch.manual_seed(0)
    GraniteForCausalLM(granite).save_pretrained(tmp_path)
    policy, plain = make_policy(tmp_path), make_policy(tmp_path)
    assert policy.way == "packed"
    plain.way = "plain"
    drawn = [generator(), generator()]
    for how in (Sampling(max_tokens=8), Sampling(max_tokens=8)):
        found, wanted = (
            each.sample(each.encode(["w1 w2 w3", "w4"], [[], []]), 3, how, numbers, greedy_row=True)
            for each, numbers in zip((policy, plain), drawn, strict=True)
        )
        assert torch.equal(found.tokens_BGR, wanted.tokens_BGR)
        assert torch.equal(found.logprobs_BGR, wanted.logprobs_BGR)
    assert policy.way == "plain" and caplog.text.count("differ from the plain pass") == 1


def test_images_for_a_text_only_model(tmp_path):
    policy = make_policy(make_text_folder(tmp_path))
    with pytest.raises(InputError, match="image of prompt 1 cannot be used: the model takes text alone"):
        policy.encode(["w1", "w2"], [[], [Image.new("RGB", (48, 48))]])


def test_broken_torchvision_is_named(monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(environment.importlib, "import_module", fail)
    with pytest.raises(InputError, match="torchvision is installed but does not work"):
        environment.torchvision_works()


def test_damaged_tokenizer(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"processor of .* cannot be loaded"):
        make_policy(copy)


def test_a_tokenizer_without_an_end_token_is_told_before_any_work(tmp_path):
    path = make_text_folder(tmp_path) / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": None}))
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>", ""))
    with pytest.raises(InputError, match="names no end token"):
        check_ready(str(tmp_path), ModelSettings(path=str(tmp_path)))


def test_unwritable_folder(policy, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HoldfastError, match="cannot be saved"):
        policy.save(tmp_path / "file" / "model")


def test_image_sources_are_decoded_once(policy, tmp_path, monkeypatch):
    rng = random.Random(3)
    picture = random_image(rng, (70, 30))
    picture.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    sources = [picture, tmp_path / "a.png", tmp_path / "b.png", (tmp_path / "a.png").read_bytes()]
    first = policy.encode(["w1"] * 4, [[source] for source in sources])
    assert first.images == ((0,),) * 4  # the same pixels, wherever they come from
    opened = []
    monkeypatch.setattr(images, "open_image", opened.append)
    again = policy.encode(["w1"] * 4, [[source] for source in sources])
    assert not opened
    assert torch.equal(again.pixel_values, first.pixel_values)


def test_missing_image(policy, tmp_path):
    with pytest.raises(HoldfastError, match=r"no\.png is missing"):
        policy.encode(["w1"], [[tmp_path / "no.png"]])


def test_byte_cache_forgets_what_was_used_longest_ago():
    kept: ByteCache[int] = ByteCache(10)
    for key in "abc":
        kept.put(key, ord(key), 4)
    assert kept.get("a") is None and kept.get("b") == ord("b")
    kept.put("d", 1, 4)
    assert kept.get("c") is None and kept.get("b") is not None and kept.size == 8
    kept.put("e", 1, 11)
    assert kept.get("e") is None and len(kept) == 2


@pytest.mark.parametrize("make", [make_folder, make_qwen2_folder, make_qwen3_folder])
def test_frozen_features_are_reused_and_equal(tmp_path, make, monkeypatch):
    policy, trained = make_policy(make(tmp_path), freeze=("vision", "projector")), make_policy(tmp_path)
    encoded = []
    encode = QwenVL.features

    def counting(self, model, images):
        encoded.append(len(images))
        return encode(self, model, images)

    monkeypatch.setattr(QwenVL, "features", counting)
    completions = policy.encode_completions(["w1", "w2 w3", "w3", "w4"])
    found = {}
    for each in (policy, trained):
        each.way, each.tried.packed = "packed", True
        prompts = mixed_prompts(each)[2]
        for rows in ([0, 1, 2, 3], [2, 0], [3, 2, 1, 0]):
            logprobs = each.group_logprobs(prompts.select(rows), completions.select(rows)).logprobs_BGR
            logprobs.sum().backward()
            found.setdefault(tuple(rows), []).append(logprobs.detach())
        if each is policy:
            assert encoded == [1, 1, 1]
    assert encoded == [1, 1, 1, 3, 2, 3]
    for first, second in found.values():
        torch.testing.assert_close(first, second, rtol=0, atol=1e-4)
    gradients = {name: p.grad for name, p in policy.model.named_parameters() if p.requires_grad}
    other = dict(trained.model.named_parameters())
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, other[name].grad, rtol=1e-3, atol=1e-4)


def test_a_policy_that_is_dropped_frees_its_weights_at_once():
    """Not when the collector of cycles comes to it: until then two models would be on the card."""
    policy = Policy.load("embedded", ModelSettings())
    examples = TASKS["counting"].examples("train", 2)
    prompts = policy.encode([one.prompt for one in examples], [one.images for one in examples])
    policy.sample(prompts, 2, Sampling(max_tokens=4), torch.Generator())
    parts = [weakref.ref(part) for part in (policy.model.model.visual, policy.model.model.language_model)]
    gc.collect()
    gc.disable()
    try:
        del policy
        assert [part() for part in parts] == [None, None]
    finally:
        gc.enable()
