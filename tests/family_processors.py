"""Random tiny models of families whose processors ask for torchvision: for videos, or for a helper."""

# ruff: noqa: C408

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from family_helpers import TEMPLATE, VISION, _save, family_tokenizer, text_sizes
from holdfast.policy.processor import Qwen2VLImageProcessorPil, pixtral_processor
from holdfast.policy.videos import VideoSettings
from policy_helpers import CHAT_TEMPLATE, MROPE, make_tokenizer


def make_qwen2_folder(folder: Path) -> Path:
    """Qwen2-VL: the tower of Qwen2.5-VL without windows."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen2VLConfig(
        text_config=dict(**text_sizes(tokenizer), rope_parameters={
            "rope_type": "default", "rope_theta": 100.0, "mrope_section": MROPE[32]}),
        vision_config=dict(depth=2, embed_dim=24, hidden_size=32, num_heads=2, patch_size=8,
                           spatial_merge_size=2, temporal_patch_size=2, initializer_range=0.2),
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    images = Qwen2VLImageProcessorPil(
        patch_size=8, temporal_patch_size=2, merge_size=2, min_pixels=16 * 16, max_pixels=64 * 64
    )
    videos = VideoSettings.like_images(images.to_dict(), "qwen2_vl")
    processor = Qwen2VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)
    return _save(Qwen2VLForConditionalGeneration(config), processor, folder)


def make_onevision_folder(folder: Path) -> Path:
    """LLaVA-OneVision: tiles of 32 pixels from a SigLIP tower, put together by the model."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    grid = [[32, 64], [64, 32], [64, 64]]
    config = LlavaOnevisionConfig(
        text_config=dict(model_type="llama", **text_sizes(tokenizer)),
        vision_config=dict(model_type="siglip_vision_model", image_size=32, vision_use_head=False, **VISION),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"), image_grid_pinpoints=grid,
    )  # fmt: skip
    images = LlavaOnevisionImageProcessorPil(size={"height": 32, "width": 32}, image_grid_pinpoints=grid)
    videos = VideoSettings(
        video_processor_type="LlavaOnevisionVideoProcessor", size={"height": 32, "width": 32}
    )
    processor = LlavaOnevisionProcessor(
        images, tokenizer, videos, num_image_tokens=16, vision_feature_select_strategy="full",
        video_token="<|video_pad|>", chat_template=TEMPLATE,
    )  # fmt: skip
    return _save(LlavaOnevisionForConditionalGeneration(config), processor, folder)


def make_smolvlm_folder(folder: Path) -> Path:
    """SmolVLM2: images cut into tiles of 32 pixels and a small whole, four features each. Needs num2words."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    config = SmolVLMConfig(
        text_config=dict(model_type="llama", **text_sizes(tokenizer)),
        vision_config=dict(image_size=32, **VISION), scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    images = SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    videos = VideoSettings(video_processor_type="SmolVLMVideoProcessor", size={"longest_edge": 32})
    processor = SmolVLMProcessor(images, tokenizer, videos, image_seq_len=4, chat_template=TEMPLATE)
    return _save(SmolVLMForConditionalGeneration(config), processor, folder)


def make_internvl_folder(folder: Path) -> Path:
    """InternVL: up to three tiles of 32 pixels and the whole, four features each."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer(
        start_image_token="<start_of_image>", end_image_token="<end_of_image>",
        context_image_token="<image>", video_token="<|video_pad|>",
    )  # fmt: skip
    config = InternVLConfig(
        text_config=dict(model_type="llama", **text_sizes(tokenizer)),
        vision_config=dict(image_size=[32, 32], patch_size=[8, 8], hidden_size=24, intermediate_size=64,
                           num_hidden_layers=2, num_attention_heads=2, initializer_range=0.2),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=4,
    )  # fmt: skip
    images = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=3)
    videos = VideoSettings(video_processor_type="InternVLVideoProcessor", size={"height": 32, "width": 32})
    processor = InternVLProcessor(images, tokenizer, videos, image_seq_length=4, chat_template=TEMPLATE)
    return _save(InternVLForConditionalGeneration(config), processor, folder)


def make_mistral3_folder(folder: Path) -> Path:
    """Mistral 3: a Pixtral tower that takes images of any size, two by two patches a feature."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    config = Mistral3Config(
        text_config=dict(model_type="mistral", sliding_window=None, head_dim=8, **text_sizes(tokenizer)),
        vision_config=dict(model_type="pixtral", image_size=64, head_dim=12, hidden_size=24, patch_size=8,
                           intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                           initializer_range=0.2),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), spatial_merge_size=2,
    )  # fmt: skip
    images = PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size={"height": 8, "width": 8})
    processor = pixtral_processor()(
        images, tokenizer, patch_size=8, spatial_merge_size=2, chat_template=TEMPLATE,
        image_token="<image>", image_break_token="<row_1_col_1>", image_end_token="<end_of_image>",
    )  # fmt: skip
    return _save(Mistral3ForConditionalGeneration(config), processor, folder)
