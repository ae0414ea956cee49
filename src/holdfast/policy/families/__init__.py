"""Model families: for each, one class that says what it is.

A family is found by the `model_type` of a model's configuration. Another one needs a class and a line
in `FAMILIES`, or from outside the package `FAMILIES["its_model_type"] = ItsClass`.
"""

from __future__ import annotations

from typing import Any

from holdfast.policy.families import qwen_vl, rotary
from holdfast.policy.families.family import Family, ImageFeatures, Part

__all__ = ["FAMILIES", "Family", "ImageFeatures", "Part", "family_of", "part_of"]

FAMILIES: dict[str, type[Family]] = {
    "gemma3": rotary.Gemma3,
    "gemma4": rotary.Gemma4,
    "gemma4_text": rotary.Gemma4Text,
    "glm4v": qwen_vl.Glm4v,
    "glm4v_moe": qwen_vl.Glm4v,
    "glm46v": qwen_vl.Glm4v,
    "idefics3": rotary.Idefics3,
    "internvl": rotary.InternVL,
    "llava": rotary.Llava,
    "llava_onevision": rotary.LlavaOnevision,
    "mistral3": rotary.Mistral3,
    "qwen2_vl": qwen_vl.QwenVL,
    "qwen2_5_vl": qwen_vl.Qwen2_5VL,
    "qwen3_vl": qwen_vl.Qwen3VL,
    "qwen3_vl_moe": qwen_vl.Qwen3VL,
    "qwen3_5": qwen_vl.QwenVL,
    "qwen3_5_moe": qwen_vl.QwenVL,
    "smolvlm": rotary.Idefics3,
}


def family_of(config: Any) -> Family:
    """What a model with this transformers configuration is."""
    return FAMILIES.get(config.model_type, Family)(config)


def part_of(name: str) -> Part | None:
    """The part that a weight belongs to in whichever family it is, by its name in a model or a file."""
    families: tuple[type[Family], ...] = (Family, *FAMILIES.values())
    parts = {family.part_of(name) for family in families}
    return "projector" if "projector" in parts else "vision" if "vision" in parts else None
