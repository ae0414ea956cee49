"""Floating-point operations of a pass, as usually counted: 2 N per token forward, twice that again backward.

(Kaplan et al., arXiv 2001.08361, sec. 2.1.) Half of the backward pass is the gradients of what goes into a
layer, half those of its weights, which frozen ones have not: LoRA takes about 4 N in place of 6 N (Hu et al.,
arXiv 2106.09685, sec. 4.2). Attention scores, norms and the optimiser's arithmetic are
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
        learned_text, learned_vision: those of them that are trained; of vision 0, where the tower has none,
            so that no backward pass goes into it.
        patch_values: numbers in one patch of a picture, where pictures come as a whole.
    """

    text: int
    vision: float
    learned_text: int
    learned_vision: float
    patch_values: int

    @classmethod
    def of(cls, model: Any) -> Operations:
        from torch import nn

        from holdfast.policy.families import family_of

        family = family_of(model.config)
        parts = list(family.parts(model))
        elsewhere = {id(parameter) for _, parameter in parts}
        share = _asked_experts(model.config.get_text_config())
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        elsewhere |= tables - {id(model.get_output_embeddings().weight)}
        text = [
            (round(_count(parameter) * share) if ".experts." in name else _count(parameter), parameter)
            for name, parameter in model.named_parameters()
            if id(parameter) not in elsewhere
        ]
        vision = [(_count(one) / (family.merge**2 if part == "projector" else 1), one) for part, one in parts]
        tower_learns = any(parameter.requires_grad for part, parameter in parts if part == "vision")
        return cls(
            sum(count for count, _ in text),
            sum(count for count, _ in vision),
            sum(count for count, parameter in text if parameter.requires_grad),
            sum(count for count, parameter in vision if parameter.requires_grad) if tower_learns else 0,
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
        vision = (2 if self.learned_vision else 1) * self.vision + self.learned_vision
        return 2 * ((2 * self.text + self.learned_text) * tokens + vision * patches)

    def _patches(self, prompts: Prompts) -> float:
        if prompts.pixel_values is not None:
            return len(prompts.pixel_values)
        pixels = (image["pixel_values"] for image in prompts.image_inputs if "pixel_values" in image)
        return sum(values.numel() for values in pixels) / self.patch_values


def _count(parameter: Any) -> int:
    """Numbers in a parameter; of one that bitsandbytes packs, two to a byte, those that it stands for."""
    packed = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if packed is None else packed.shape.numel())


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
