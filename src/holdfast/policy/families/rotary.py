"""Families with ordinary rotary positions, whose vision towers are run by their models' own code."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from holdfast.policy.attention import FULL, SLIDING
from holdfast.policy.families.family import Family


class Llava(Family):
    """LLaVA (arXiv 2304.08485): a CLIP tower, and two linear layers before the text model."""

    text = "language_model"
    vision: ClassVar[tuple[str, ...]] = ("vision_tower",)
    projector: ClassVar[tuple[str, ...]] = ("multi_modal_projector",)


class LlavaOnevision(Llava):
    """LLaVA-OneVision (arXiv 2408.03326): tiles of a large image, which the model puts together."""

    projector = ("multi_modal_projector", "image_newline")


class Mistral3(Llava):
    """Mistral Small 3.1 and its kin: a Pixtral tower (arXiv 2410.07073) takes images of any size."""

    @property
    def merge(self) -> int:
        return self.config.spatial_merge_size


class InternVL(Llava):
    """InternVL 3 (arXiv 2504.10479): an image is one or more tiles, each as many tokens."""

    @property
    def merge(self) -> int:
        return round(1 / self.config.downsample_ratio)


class Gemma3(Llava):
    """Gemma 3 (arXiv 2503.19786): an image has 256 tokens, which see one another; most layers a window."""

    @property
    def ahead(self) -> frozenset[str]:
        return frozenset({FULL, SLIDING})

    @property
    def merge(self) -> int:
        side = self.config.vision_config.image_size // self.config.vision_config.patch_size
        return round(side / self.config.mm_tokens_per_image**0.5)


class Gemma4Text(Family):
    """Gemma 4's text model: windows, later layers with keys of earlier ones, embeddings for each layer."""

    def beside_tokens(self, text: Any, tokens_N: torch.Tensor) -> dict[str, Any]:
        if not text.hidden_size_per_layer_input:
            return {}
        known_N = tokens_N.masked_fill(tokens_N == self.image_token, text.config.pad_token_id)
        return {"per_layer_inputs": text.get_per_layer_inputs(known_N[None])}


class Gemma4(Gemma4Text):
    """Gemma 4: tokens of an image see one another in some sizes, where a window is."""

    text = "language_model"
    vision, projector = ("vision_tower",), ("embed_vision",)

    @property
    def ahead(self) -> frozenset[str]:
        sees = self.config.get_text_config().use_bidirectional_attention == "vision"
        return frozenset({SLIDING} if sees else ())

    @property
    def merge(self) -> int:
        return self.config.vision_config.pooling_kernel_size


class Idefics3(Family):
    """Idefics3 (arXiv 2408.12637) and its kin SmolVLM (arXiv 2504.05299): tiles and a small whole."""

    text = "text_model"
    vision, projector = ("vision_model",), ("connector",)

    @property
    def merge(self) -> int:
        return self.config.scale_factor
