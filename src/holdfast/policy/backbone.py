"""The parts of a transformers model that the group-wise pass drives itself.

Known families are Qwen2.5-VL, Qwen3-VL (with DeepStack), vision-language models with ordinary rotary
positions (LLaVA; Idefics3, which the first SmolVLMs are), and text-only causal language models. A
model outside them, or with sliding-window attention, works through the plain pass.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from holdfast.policy.attention import NAME, Layout, Segments
from holdfast.policy.batch import Prompts
from holdfast.policy.cache import ByteCache
from holdfast.policy.processed import check_features, image_features

FEATURE_BYTES = 1 << 30  # of frozen image features that are kept
TEXT_MODELS = {"llava": "language_model", "idefics3": "text_model"}  # those with ordinary rotary positions


@dataclass
class Embedded:
    """Packed input embeddings of the text model.

    Attributes:
        rows_ND: one row per token.
        extra: further arguments for the text model (DeepStack features).
    """

    rows_ND: torch.Tensor
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageFeatures:
    """What the vision tower makes of one image: a row per image token, and DeepStack rows per layer."""

    rows_TD: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.rows_TD, *self.deep))


class Backbone:
    """Embeddings, vision tower, text model and head of a known architecture.

    Raises:
        ValueError: the architecture is not known; the message says why.
    """

    def __init__(self, model: Any):
        self.model = model
        self.kind = model.config.model_type
        inner: Any = getattr(model, "model", None)
        self.visual: Any = None  # Qwen-VL's tower, which is driven here; other towers by their models
        self.image_token = -1  # none
        self.merge, self.axes = 1, 1
        if self.kind in ("qwen2_5_vl", "qwen3_vl"):
            self.visual, self.text = inner.visual, inner.language_model
            self.merge = model.config.vision_config.spatial_merge_size
            self.image_token = model.config.image_token_id
            self.axes = 3
        elif self.kind in TEXT_MODELS:
            self.text = getattr(inner, TEXT_MODELS[self.kind])
            self.image_token = model.config.image_token_id
        elif inner is not None and hasattr(inner, "layers") and hasattr(inner, "embed_tokens"):
            self.text = inner
        else:
            raise ValueError(f"{type(model).__name__} is not among the architectures it knows")
        kinds = set(getattr(self.text.config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"} or getattr(self.text.config, "sliding_window", None):
            raise ValueError(f"{type(model).__name__} does not use full attention in every layer")
        model.set_attn_implementation(NAME)
        if self.text.config._attn_implementation != NAME:
            raise ValueError(f"{type(model).__name__} does not take other attention functions")
        self.head = model.get_output_embeddings()
        parts = () if inner is self.text else inner.children()
        self.vision = [part for part in parts if part is not self.text]
        self.replays = model.device.type == "cuda"  # decoding steps (`stretches.py`)
        self._geometry: OrderedDict[tuple, dict[str, Any]] = OrderedDict()
        self._features: ByteCache[ImageFeatures] = ByteCache(FEATURE_BYTES)

    @property
    def dtype(self) -> torch.dtype:
        return self.text.dtype

    def embed(self, tokens_N: torch.Tensor, prompts: Prompts) -> Embedded:
        """Embeddings of packed tokens whose first part is all of `prompts`, images filled in.

        Each distinct image is encoded once, however many prompts show it; once and for all where
        nothing in the vision tower is trained.
        """
        rows_ND = self.text.embed_tokens(tokens_N)
        if not prompts.image_keys:
            return Embedded(rows_ND)
        if any(parameter.requires_grad for part in self.vision for parameter in part.parameters()):
            features = self._encode(prompts.pixel_values, prompts.image_grid_thw, prompts.image_inputs)
        else:
            features = self._frozen_features(prompts)
        is_image_N = torch.eq(tokens_N, self.image_token)
        shown = [features[image] for row in prompts.images for image in row]
        places = is_image_N.nonzero().squeeze(1)
        rows_TD = torch.cat([image.rows_TD for image in shown])
        if len(places) != len(rows_TD):
            check_features(prompts, self.image_token, [len(image.rows_TD) for image in features])
        rows_ND = rows_ND.index_copy(0, places, rows_TD.to(rows_ND.dtype))
        if not shown[0].deep:
            return Embedded(rows_ND)
        return Embedded(
            rows_ND,
            {
                "visual_pos_masks": is_image_N[None],
                "deepstack_visual_embeds": [
                    torch.cat(layer) for layer in zip(*(image.deep for image in shown), strict=True)
                ],
            },
        )

    def hidden(self, embedded: Embedded, positions_KN: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Last hidden states [N, hidden] of packed tokens that attend as `layout` says."""
        return self.text(
            inputs_embeds=embedded.rows_ND[None],
            position_ids=positions_KN[:, None] if self.axes > 1 else positions_KN,
            # Four axes: transformers takes it for finished and passes it on; layouts do not read it.
            attention_mask=torch.empty(1, 1, 1, 1, dtype=torch.bool, device=positions_KN.device),
            use_cache=False,
            layout=layout,
            **embedded.extra,
        ).last_hidden_state[0]

    @torch.no_grad()
    def _frozen_features(self, prompts: Prompts) -> list[ImageFeatures]:
        """Features of each distinct image from a tower whose weights do not change.

        New images are encoded one by one: in a batch their last bits would depend on its other
        images, and a run that was resumed would differ from one that was not.
        """
        features = []
        for key, inputs in zip(prompts.image_keys, prompts.each_image(), strict=True):
            image = self._features.get(key)
            if image is None:
                image = self._encode(inputs["pixel_values"], inputs.get("image_grid_thw"), [inputs])[0]
                self._features.put(key, image, image.nbytes)
            features.append(image)
        return features

    def _encode(
        self,
        pixels: torch.Tensor | None,
        grids: torch.Tensor | None,
        images: Sequence[Mapping[str, torch.Tensor]],
    ) -> list[ImageFeatures]:
        """Features of each distinct image, all encoded together; fields as `Prompts` has them."""
        if self.visual is None or pixels is None or grids is None:
            return [ImageFeatures(rows_TD) for rows_TD in image_features(self.model, images)]
        return self._encode_images(pixels, grids)

    def _encode_images(self, pixels: torch.Tensor, grids: torch.Tensor) -> list[ImageFeatures]:
        """Features of each distinct image."""
        with _embedding_by_product(self.visual.patch_embed):
            output = self.visual(pixels.to(self.visual.dtype), grid_thw=grids, **self._vision_geometry(grids))
        counts = (grids.prod(-1) // self.merge**2).tolist()
        layers = [layer.split(counts) for layer in getattr(output, "deepstack_features", None) or []]
        return [
            ImageFeatures(rows_TD, tuple(layer[index] for layer in layers))
            for index, rows_TD in enumerate(output.pooler_output.split(counts))
        ]

    def _vision_geometry(self, grids: torch.Tensor) -> dict[str, Any]:
        """What the tower would work out from the grids one image at a time, remembered per batch shape."""
        key = tuple(map(tuple, grids.tolist()))
        if key in self._geometry:
            self._geometry.move_to_end(key)
            return dict(self._geometry[key])
        whole = [height * width for frames, height, width in key for _ in range(frames)]
        # One chunk for transformers, which would loop over segments; the layout splits it.
        chunk = torch.tensor([0, sum(whole)], dtype=torch.int32)
        made: dict[str, Any] = {
            "position_ids": get_vision_position_ids(grids, self.merge),
            "cu_seqlens": chunk,
        }
        windows, whole_modules = whole, None
        if self.kind == "qwen2_5_vl":
            order, bounds = get_vision_window_index(
                grids, self.merge, window_size=self.visual.window_size, patch_size=self.visual.patch_size
            )
            windows = bounds.diff().tolist()
            whole_modules = frozenset(
                id(self.visual.blocks[i].attn) for i in self.visual.fullatt_block_indexes
            )
            made |= {"window_index": order.to(grids.device), "cu_window_seqlens": chunk}
        made["layout"] = Segments(whole, windows, whole_modules, grids.device)
        self._geometry[key] = made
        if len(self._geometry) > 64:
            self._geometry.popitem(last=False)
        return dict(made)


@contextmanager
def _embedding_by_product(patch_embed: Any) -> Iterator[None]:
    """Patches are embedded by a matrix product meanwhile.

    The convolution that a Qwen-VL tower does it with sees each patch once, so that it is one; the
    kernels for convolutions take several times as long over it.
    """
    convolution = patch_embed.proj
    if type(convolution) is not nn.Conv3d:  # adapted, perhaps
        yield
        return

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        return F.linear(pixels, convolution.weight.flatten(1), convolution.bias)

    patch_embed.forward = forward
    try:
        yield
    finally:
        del patch_embed.forward


def vision_parameters(model: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """What belongs to `vision`, and to the `projector` between it and the text model."""
    for place in ("visual", "vision_tower", "vision_model", "multi_modal_projector", "connector"):
        part = getattr(getattr(model, "model", None), place, None)
        for name, parameter in () if part is None else part.named_parameters(prefix=place):
            is_projector = any(word in name for word in ("merger", "multi_modal_projector", "connector"))
            yield "projector" if is_projector else "vision", parameter
