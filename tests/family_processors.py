"""Random tiny models of families whose processors ask for torchvision: for videos, or for a helper."""

# ruff: noqa: C408

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

from family_helpers import TEMPLATE, VISION, _save, family_tokenizer, text_sizes
from holdfast.policy.processor import pixtral_processor
from holdfast.policy.videos import VideoSettings


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
