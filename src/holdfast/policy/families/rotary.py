"""Families with ordinary rotary positions, whose vision towers are run by their models' own code."""

from __future__ import annotations

from holdfast.policy.families.family import Family


class Llava(Family):
    """LLaVA (arXiv 2304.08485): a CLIP tower, and two linear layers before the text model."""

    text = "language_model"
    vision, projector = ("vision_tower",), ("multi_modal_projector",)


class InternVL(Llava):
    """InternVL 3 (arXiv 2504.10479): an image is one or more tiles, each as many tokens."""

    @property
    def merge(self) -> int:
        return round(1 / self.config.downsample_ratio)


class Idefics3(Family):
    """Idefics3 (arXiv 2408.12637) and its kin SmolVLM (arXiv 2504.05299): tiles and a small whole."""

    text = "text_model"
    vision, projector = ("vision_model",), ("connector",)

    @property
    def merge(self) -> int:
        return self.config.scale_factor
