"""Random tiny models of families that came later: mixtures of experts, layers that carry a state, GLM."""

# ruff: noqa: C408

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_5.tokenization_qwen3_5 import Qwen3_5Tokenizer

from family_helpers import TEMPLATE, _save, family_tokenizer, text_sizes
from holdfast.policy.processor import build_processor
from holdfast.policy.videos import VideoSettings
from policy_helpers import CHAT_TEMPLATE, MROPE, SPECIAL, WORDS, make_tokenizer

VISION = dict(
    depth=2, hidden_size=24, intermediate_size=64, num_heads=2, patch_size=8, spatial_merge_size=2,
    temporal_patch_size=2, out_hidden_size=32, num_position_embeddings=16, initializer_range=0.2,
)  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": MROPE[32]}
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
RECURRENT = dict(
    linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4,
    layer_types=["linear_attention", "linear_attention", "full_attention"],
)  # fmt: skip


def _text(tokenizer: Any, **more: Any) -> dict:
    return text_sizes(tokenizer) | dict(num_hidden_layers=3, head_dim=8, rope_parameters=ROPE) | more


def _save_qwen(kind: Any, config: Any, tokenizer: Any, text: dict, vision: dict, folder: Path) -> Path:
    ids = tokenizer.convert_tokens_to_ids
    torch.manual_seed(0)
    made = config(
        text_config=text, vision_config=vision,
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    images = Qwen2VLImageProcessorPil(
        patch_size=8, temporal_patch_size=2, merge_size=2, min_pixels=16 * 16, max_pixels=64 * 64
    )
    return _save(kind(made), build_processor(images, tokenizer, CHAT_TEMPLATE, "qwen3_vl"), folder)


def byte_tokenizer() -> Qwen3_5Tokenizer:
    """The words of the others: what is saved in a Qwen3.5's folder is read as a tokenizer of bytes."""
    names = (*SPECIAL, *WORDS, *sorted(ByteLevel.alphabet()))
    tokenizer = Qwen3_5Tokenizer(
        vocab={name: index for index, name in enumerate(names)}, merges=[], unk_token="<unk>",
        eos_token="<|im_end|>", pad_token="<|endoftext|>",
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL[:-1])})
    tokenizer.add_tokens(list(WORDS))
    return tokenizer


def make_qwen3_vl_moe_folder(folder: Path) -> Path:
    """Qwen3-VL with two of four experts a token."""
    tokenizer = make_tokenizer()
    text, vision = _text(tokenizer, **EXPERTS), VISION | dict(deepstack_visual_indexes=[0])
    return _save_qwen(Qwen3VLMoeForConditionalGeneration, Qwen3VLMoeConfig, tokenizer, text, vision, folder)


def make_qwen3_5_folder(folder: Path) -> Path:
    """Qwen3.5: two layers that carry a state, and one that attends, with a gate."""
    tokenizer = byte_tokenizer()
    text = _text(tokenizer, rope_parameters=ROPE | {"partial_rotary_factor": 1.0}, **RECURRENT)
    return _save_qwen(Qwen3_5ForConditionalGeneration, Qwen3_5Config, tokenizer, text, VISION, folder)


def make_qwen3_5_moe_folder(folder: Path) -> Path:
    """The same with experts, one of them for all tokens."""
    tokenizer = byte_tokenizer()
    rope = ROPE | {"partial_rotary_factor": 1.0}
    text = _text(tokenizer, rope_parameters=rope, shared_expert_intermediate_size=32, **RECURRENT, **EXPERTS)
    del text["intermediate_size"]
    return _save_qwen(Qwen3_5MoeForConditionalGeneration, Qwen3_5MoeConfig, tokenizer, text, VISION, folder)


def make_qwen3_next_folder(folder: Path) -> Path:
    """Qwen3-Next: text alone, layers that carry a state, experts in the second."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    rope = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}
    more = dict(shared_expert_intermediate_size=32, decoder_sparse_step=2)
    config = Qwen3NextConfig(**_text(tokenizer, rope_parameters=rope, **RECURRENT, **EXPERTS, **more))
    Qwen3NextForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_glm4v_folder(folder: Path, name: str = "Glm4v", kind: str | None = None, **text: Any) -> Path:
    """GLM-4.1V: Qwen2-VL's positions, a rotation and patches of its own.

    Args:
        kind: of model, if it is not called like its processor.
    """
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    marks = [f"<|{mark}|>" for mark in ("image", "video", "begin_of_image", "end_of_image",
                                        "begin_of_video", "end_of_video")]  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    image, video, *frames = tokenizer.convert_tokens_to_ids(marks)
    keys = ("image_start_token_id", "image_end_token_id", "video_start_token_id", "video_end_token_id")
    rope = ROPE | {"partial_rotary_factor": 1.0}
    model_name = name.replace("46v", "46V")
    kind = kind or model_name
    text = text or {"model_type": "glm4v_text"}
    config = getattr(transformers, f"{kind}Config")(
        text_config=dict(rope_parameters=rope, **text_sizes(tokenizer), **text),
        vision_config={key: VISION[key] for key in VISION if key != "num_position_embeddings"}
        | dict(image_size=64),
        image_token_id=image, video_token_id=video, **dict(zip(keys, frames, strict=True)),
    )  # fmt: skip
    module = importlib.import_module(
        f"transformers.models.{name.lower()}.image_processing_pil_{name.lower()}"
    )
    sizes = dict(size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64})
    images = getattr(module, f"{model_name}ImageProcessorPil")(
        patch_size=8, temporal_patch_size=2, merge_size=2, **sizes
    )
    videos = VideoSettings(video_processor_type=f"{model_name}VideoProcessor", **sizes)
    template = TEMPLATE.replace("<image>", "<|begin_of_image|><|image|><|end_of_image|>")
    processor = getattr(transformers, f"{model_name}Processor")(
        images, tokenizer, videos, chat_template=template
    )
    return _save(getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor, folder)


def make_glm4v_moe_folder(folder: Path) -> Path:
    """GLM-4.5V: experts after the first layer."""
    experts = dict(
        head_dim=8, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=1,
        n_group=1, topk_group=1, first_k_dense_replace=1,
    )  # fmt: skip
    return make_glm4v_folder(folder, kind="Glm4vMoe", **experts)


def make_glm46v_folder(folder: Path) -> Path:
    """GLM-4.6V: the same model, another processor."""
    return make_glm4v_folder(folder, "Glm46v")


def make_gemma4_folder(folder: Path) -> Path:
    """Gemma 4: windows, keys shared between layers, embeddings a layer, a cap."""
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration, Gemma4Processor
    from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    torch.manual_seed(0)
    tokenizer = family_tokenizer(
        image_token="<image>", boi_token="<start_of_image>", eoi_token="<end_of_image>",
        audio_token="<video>", boa_token="<img>", eoa_token="</img>",
    )  # fmt: skip
    images = Gemma4ImageProcessorPil(patch_size=8, pooling_kernel_size=2, max_soft_tokens=70)
    videos = VideoSettings(video_processor_type="Gemma4VideoProcessor")
    processor = Gemma4Processor(
        Gemma4AudioFeatureExtractor(), images, tokenizer, videos, chat_template=TEMPLATE, image_seq_length=70
    )
    ids = tokenizer.convert_tokens_to_ids
    config = Gemma4Config(
        text_config=text_sizes(tokenizer) | dict(
            num_hidden_layers=4, head_dim=8, global_head_dim=16, sliding_window=8, num_kv_shared_layers=2,
            layer_types=["sliding_attention", "full_attention"] * 2, hidden_size_per_layer_input=8,
            vocab_size_per_layer_input=len(tokenizer), use_bidirectional_attention="vision",
        ),
        vision_config=dict(
            hidden_size=24, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, head_dim=12, patch_size=8, pooling_kernel_size=2,
            position_embedding_size=64, initializer_range=0.2,
        ),
        audio_config=None, image_token_id=ids("<image>"), boi_token_id=ids("<start_of_image>"),
        eoi_token_id=ids("<end_of_image>"), video_token_id=processor.video_token_id,
        audio_token_id=ids("<video>"),
    )  # fmt: skip
    return _save(Gemma4ForConditionalGeneration(config), processor, folder)
