"""Floating-point operations of a pass, as usually counted: 2 N per token forward, twice that again backward.

(Kaplan et al., arXiv 2001.08361, sec. 2.1.) Attention scores, norms and the optimiser's arithmetic are
left out. Prompts and images count once per group, as they are computed here; equal completions count each,
and so do prompts that teach nothing: the count says what a method asks for, however sure the policy is, not
what a machine achieves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # plans count operations without torch
    from holdfast.policy.batch import Completions, Prompts


@dataclass(frozen=True)
class Operations:
    """Weights that a token and an image patch pass through.

    Attributes:
        text: of the language model with its head; embeddings (of Gemma 4 for each layer, too) are looked up,
            not multiplied.
        vision: of the vision tower, and of the projector shared among the patches it merges.
        vision_learns: the tower is trained, so these take a backward pass, too.
        patch_values: numbers in one patch of a picture, where pictures come as a whole.
    """

    text: int
    vision: float
    vision_learns: bool
    patch_values: int

    @classmethod
    def of(cls, model: Any) -> Operations:
        from torch import nn

        from holdfast.policy.families import family_of

        family = family_of(model.config)
        parts = list(family.parts(model))
        vision = {id(parameter) for _, parameter in parts}
        share = _asked_experts(model.config.get_text_config())
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        looked_up = tables - {id(model.get_output_embeddings().weight)}
        text = sum(
            round(parameter.numel() * share) if ".experts." in name else parameter.numel()
            for name, parameter in model.named_parameters()
            if id(parameter) not in vision | looked_up
        )
        return cls(
            text,
            sum(p.numel() / (family.merge**2 if part == "projector" else 1) for part, p in parts),
            any(parameter.requires_grad for part, parameter in parts if part == "vision"),
            3 * family.patch**2 if family.patch else 1,
        )

    def forward(self, prompts: Prompts, completions: Completions) -> float:
        """Of one forward pass over groups."""
        return self.passing(_tokens(prompts, completions), self._patches(prompts))

    def training(self, prompts: Prompts, completions: Completions) -> float:
        """Of one forward and backward pass over groups."""
        return self.learning(_tokens(prompts, completions), self._patches(prompts))

    def passing(self, tokens: float, patches: float) -> float:
        """Of a forward pass over so many tokens and image patches."""
        return 2 * (self.text * tokens + self.vision * patches)

    def learning(self, tokens: float, patches: float) -> float:
        """Of a forward and backward pass over as many."""
        return 2 * (3 * self.text * tokens + (3 if self.vision_learns else 1) * self.vision * patches)

    def _patches(self, prompts: Prompts) -> float:
        if prompts.pixel_values is not None:
            return len(prompts.pixel_values)
        pixels = (image["pixel_values"] for image in prompts.image_inputs if "pixel_values" in image)
        return sum(values.numel() for values in pixels) / self.patch_values


def _asked_experts(config: Any) -> float:
    """Share of a mixture's experts that a token passes through."""
    asked, experts = (
        next((value for name in names if (value := getattr(config, name, None))), 1)
        for names in (
            ("num_experts_per_tok", "top_k_experts"),
            ("num_experts", "num_local_experts", "n_routed_experts"),
        )
    )
    return min(1.0, asked / experts)


def _tokens(prompts: Prompts, completions: Completions) -> int:
    return int(prompts.lengths_B.sum()) + int(completions.mask_BGR.sum())
