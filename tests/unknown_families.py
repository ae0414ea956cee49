"""Random tiny models of families that nobody has described, with their own processors."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    AyaVisionProcessor,
    DeepseekVLConfig,
    DeepseekVLForConditionalGeneration,
    DeepseekVLProcessor,
    LlavaProcessor,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)
from transformers.models.deepseek_vl.image_processing_pil_deepseek_vl import DeepseekVLImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from family_helpers import TEMPLATE, VISION, _save, family_tokenizer, text_sizes


def make_vipllava_folder(folder: Path) -> Path:
    """ViP-LLaVA: LLaVA with features from several layers of its tower."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    config = VipLlavaConfig(
        text_config=dict(model_type="llama", **text_sizes(tokenizer)),
        vision_config=dict(model_type="clip_vision_model", image_size=32, projection_dim=24, **VISION),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=[-2, -1],
        image_seq_length=16,
    )  # fmt: skip
    images = LlavaImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    return _save(VipLlavaForConditionalGeneration(config), processor, folder)


def make_aya_folder(folder: Path) -> Path:
    """Aya Vision: tiles from a SigLIP tower; layers of Cohere 2, which see a window, and scaled logits."""
    torch.manual_seed(0)
    named = dict(zip(
        ("start_of_img_token", "end_of_img_token", "img_patch_token", "img_line_break_token", "tile_token",
         "tile_global_token"),
        ("<img>", "</img>", "<image>", "<global-img>", "<row_1_col_1>", "<row_2_col_2>"),
        strict=True,
    ))  # fmt: skip
    tokenizer = family_tokenizer()
    config = AyaVisionConfig(
        text_config=dict(model_type="cohere2", sliding_window=8, logit_scale=0.5, **text_sizes(tokenizer)),
        vision_config=dict(model_type="siglip_vision_model", image_size=32, vision_use_head=False, **VISION),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), downsample_factor=2,
    )  # fmt: skip
    images = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=3)
    processor = AyaVisionProcessor(
        images, tokenizer, patch_size=8, img_size=32, image_token="<image>", downsample_factor=2,
        chat_template=TEMPLATE, **named,
    )  # fmt: skip
    return _save(AyaVisionForConditionalGeneration(config), processor, folder)


def make_deepseek_folder(folder: Path) -> Path:
    """DeepSeek-VL: a SigLIP tower, and a Llama that takes any positions."""
    torch.manual_seed(0)
    tokenizer = family_tokenizer(image_token="<image>")
    config = DeepseekVLConfig(
        text_config=dict(model_type="llama", **text_sizes(tokenizer)),
        vision_config=dict(model_type="siglip_vision_model", image_size=32, vision_use_head=False, **VISION),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    images = DeepseekVLImageProcessorPil(size={"height": 32, "width": 32})
    processor = DeepseekVLProcessor(images, tokenizer, chat_template=TEMPLATE, num_image_tokens=16)
    return _save(DeepseekVLForConditionalGeneration(config), processor, folder)
