"""Random tiny models of families other than Qwen2.5-VL and Qwen3-VL, with their own processors."""

# ruff: noqa: C408

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from holdfast.policy.videos import VideoSettings
from policy_helpers import CHAT_TEMPLATE, MROPE, make_tokenizer

TEMPLATE = CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")
PARTS = (
    "<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", "<start_of_image>",
    "<end_of_image>", "<img>", "</img>", "<video>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)),
)  # fmt: skip


def family_tokenizer(**named: str) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(PARTS)})
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        unk_token="<unk>", eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=named,
    )  # fmt: skip


def text_sizes(tokenizer: PreTrainedTokenizerFast) -> dict:
    return dict(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


VISION = dict(hidden_size=24, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
              patch_size=8, initializer_range=0.2, initializer_factor=4.0)  # fmt: skip


def _save(model, processor, folder: Path) -> Path:
    tokenizer = processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids([f"w{i}" for i in range(0, 200, 12)])
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *ids]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    with torch.no_grad():  # positions of patches start out too small to matter
        for name, parameter in model.named_parameters():
            if "position_embedding" in name or "class_embedding" in name:
                parameter.normal_(std=0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_llava_folder(folder: Path, strategy: str = "default") -> Path:
    """LLaVA: a CLIP tower, a two-layer projector, a Llama; 16 features an image (17 with the class token)."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    config = LlavaConfig(
        text_config=dict(model_type="llama", **text_sizes(tokenizer)),
        vision_config=dict(model_type="clip_vision_model", image_size=32, projection_dim=24, **VISION),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2, vision_feature_select_strategy="default", image_seq_length=16,
    )  # fmt: skip
    images = LlavaImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy=strategy,
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    return _save(LlavaForConditionalGeneration(config), processor, folder)


def make_idefics3_folder(folder: Path, image_seq_len: int = 4) -> Path:
    """Idefics3: images cut into tiles of 32 pixels and a small whole, four features each."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    config = Idefics3Config(
        text_config=dict(model_type="llama", **text_sizes(tokenizer)),
        vision_config=dict(image_size=32, **VISION), scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=image_seq_len, chat_template=TEMPLATE)
    return _save(Idefics3ForConditionalGeneration(config), processor, folder)


def make_smolvlm_folder(folder: Path, image_seq_len: int = 4) -> Path:
    """SmolVLM2: Idefics3's parts under names of its own."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    config = SmolVLMConfig(
        text_config=dict(model_type="llama", **text_sizes(tokenizer)),
        vision_config=dict(image_size=32, **VISION), scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    images = SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    videos = VideoSettings(video_processor_type="SmolVLMVideoProcessor", size={"longest_edge": 32})
    processor = SmolVLMProcessor(
        images, tokenizer, videos, image_seq_len=image_seq_len, chat_template=TEMPLATE
    )
    return _save(SmolVLMForConditionalGeneration(config), processor, folder)


def make_internvl_folder(folder: Path, image_seq_length: int = 4) -> Path:
    """InternVL: up to four tiles of 32 pixels and a small whole, four features each; a Qwen2 under it."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer(
        start_image_token="<img>", end_image_token="</img>", context_image_token="<image>",
        video_token="<video>",
    )  # fmt: skip
    config = InternVLConfig(
        text_config=dict(model_type="qwen2", **text_sizes(tokenizer)),
        vision_config=dict(image_size=32, layer_scale_init_value=1.0,
                           **{name: VISION[name] for name in VISION if name != "initializer_factor"}),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=4,
        tie_word_embeddings=False,
    )  # fmt: skip
    images = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, max_patches=4)
    videos = VideoSettings(video_processor_type="InternVLVideoProcessor", size={"height": 32, "width": 32})
    processor = InternVLProcessor(
        images, tokenizer, videos, image_seq_length=image_seq_length, chat_template=TEMPLATE
    )
    return _save(InternVLForConditionalGeneration(config), processor, folder)


def make_qwen2_folder(folder: Path) -> Path:
    """Qwen2-VL: Qwen2.5-VL's patches and positions, before a tower without windows."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    sizes = text_sizes(tokenizer)
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": MROPE[sizes["hidden_size"]]}
    config = Qwen2VLConfig(
        text_config=dict(**sizes, rope_parameters=rope),
        vision_config=dict(
            depth=2, embed_dim=24, hidden_size=32, mlp_ratio=3, num_heads=2, patch_size=8,
            spatial_merge_size=2, temporal_patch_size=2, initializer_range=0.2,
        ),
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    images = Qwen2VLImageProcessorPil(
        patch_size=8, temporal_patch_size=2, merge_size=2, min_pixels=16 * 16, max_pixels=64 * 64
    )
    videos = VideoSettings.like_images(images.to_dict(), "qwen2_vl")
    processor = Qwen2VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)
    return _save(Qwen2VLForConditionalGeneration(config), processor, folder)


def make_gemma3_folder(folder: Path, window: int = 8) -> Path:
    """Gemma 3: image tokens see one another in both directions, most layers a window."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer(
        image_token="<image>", boi_token="<start_of_image>", eoi_token="<end_of_image>"
    )
    ids = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        text_config=dict(**text_sizes(tokenizer), head_dim=8, sliding_window=window,
                         layer_types=["sliding_attention", "full_attention"]),
        vision_config=dict(image_size=32, vision_use_head=False, **VISION), mm_tokens_per_image=4,
        image_token_id=ids("<image>"), boi_token_id=ids("<start_of_image>"),
        eoi_token_id=ids("<end_of_image>"),
    )  # fmt: skip
    images = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    template = TEMPLATE.replace("<image>", "<start_of_image>")
    processor = Gemma3Processor(images, tokenizer, chat_template=template, image_seq_length=4)
    model = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # zeros as it is made
    return _save(model, processor, folder)


def make_llava_next_folder(folder: Path) -> Path:
    """LLaVA-NeXT: as many tiles of 32 pixels as an image's shape asks for, which the model puts together."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    grid = [[32, 64], [64, 32], [64, 64]]
    config = LlavaNextConfig(
        text_config=dict(model_type="llama", **text_sizes(tokenizer)),
        vision_config=dict(model_type="clip_vision_model", image_size=32, projection_dim=24, **VISION),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), image_grid_pinpoints=grid,
        vision_feature_layer=-2, vision_feature_select_strategy="default", image_seq_length=16,
    )  # fmt: skip
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=grid
    )
    processor = LlavaNextProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    return _save(LlavaNextForConditionalGeneration(config), processor, folder)
