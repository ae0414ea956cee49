"""A random tiny Qwen2.5-VL with a word tokenizer, and prompts to try it on."""

# ruff: noqa: C408

from __future__ import annotations

import random
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from holdfast.policy.policy import Policy
from holdfast.policy.processor import build_processor
from holdfast.policy.settings import ModelSettings

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>", "<unk>",
)  # fmt: skip
WORDS = (*(f"w{i}" for i in range(200)), "user", "assistant", "system", "<think>", "</think>")

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MROPE = {32: [1, 1, 2], 64: [2, 3, 3], 128: [4, 6, 6]}  # adds up to half of hidden / 4 heads

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.add_special_tokens({"additional_special_tokens": list(SPECIAL[:-1])})
    return fast


def make_folder(
    folder: Path, *, hidden: int = 32, layers: int = 2, depth: int = 2, windowed: bool = False
) -> Path:
    """Write a model folder with random weights of a visible size (so that wrong masks show)."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=3 * hidden,
            num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=512, initializer_range=0.2, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 100.0, "mrope_section": MROPE[hidden]},
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=dict(
            depth=depth, hidden_size=3 * hidden // 4, intermediate_size=2 * hidden, num_heads=2, patch_size=8,
            spatial_merge_size=2, temporal_patch_size=2, out_hidden_size=hidden, window_size=32,
            fullatt_block_indexes=[depth - 1] if windowed else list(range(depth)), initializer_range=0.2,
        ),
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config)
    # A random model ends as good as never: some words end a completion too.
    model.generation_config.eos_token_id = [
        tokenizer.eos_token_id,
        *ids([f"w{i}" for i in range(0, 200, 12)]),
    ]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    images = Qwen2VLImageProcessorPil(
        patch_size=8, temporal_patch_size=2, merge_size=2, min_pixels=16 * 16, max_pixels=64 * 64
    )
    build_processor(images, tokenizer, CHAT_TEMPLATE).save_pretrained(folder)
    return folder


def make_qwen3_folder(folder: Path) -> Path:
    """The same with the Qwen3-VL architecture (DeepStack)."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=96, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=512,
            initializer_range=0.2, rope_parameters={"rope_type": "default", "rope_theta": 100.0,
                                                    "mrope_section": MROPE[32]},
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=dict(
            depth=3, hidden_size=24, intermediate_size=64, num_heads=2, patch_size=8, spatial_merge_size=2,
            temporal_patch_size=2, out_hidden_size=32, num_position_embeddings=16,
            deepstack_visual_indexes=[0, 1], initializer_range=0.2,
        ),
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    images = Qwen2VLImageProcessorPil(
        patch_size=8, temporal_patch_size=2, merge_size=2, min_pixels=16 * 16, max_pixels=64 * 64
    )
    build_processor(images, tokenizer, CHAT_TEMPLATE, "qwen3_vl").save_pretrained(folder)
    return folder


def make_text_folder(folder: Path) -> Path:
    """A text-only causal language model."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    sizes = dict(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_policy(folder: Path, **settings: object) -> Policy:
    return Policy.load(folder, ModelSettings(**settings))


def random_image(rng: random.Random, size: tuple[int, int] = (48, 48)) -> Image.Image:
    return Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))


def random_text(rng: random.Random, words: int) -> str:
    return " ".join(f"w{rng.randrange(200)}" for _ in range(words))
