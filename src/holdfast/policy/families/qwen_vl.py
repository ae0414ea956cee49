"""Qwen-VL: M-RoPE, and a vision tower that takes the patches of all images in one row.

The tower is driven here, one segment of attention per image or window.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from holdfast.policy.attention import Segments
from holdfast.policy.encode import Encoder
from holdfast.policy.families.family import MERGERS, Family, ImageFeatures
from holdfast.policy.families.patches import GridEncoder
from holdfast.policy.processed import collate
from holdfast.policy.products import linear

GEOMETRIES = 64  # shapes of batches that are remembered


class QwenVL(Family):
    """Qwen2-VL (arXiv 2409.12191), and what its successors have in common with it."""

    text = "language_model"
    vision, projector = ("visual",), MERGERS
    axes = 3

    def __init__(self, config: Any):
        super().__init__(config)
        self._geometries: OrderedDict[tuple, dict[str, Any]] = OrderedDict()

    def features(self, model: Any, images: Sequence[Mapping[str, torch.Tensor]]) -> list[ImageFeatures]:
        tower, inputs = model.model.visual, collate(images, model.dtype)
        grids = inputs["image_grid_thw"]
        with _embedding_by_product(tower.patch_embed):
            output = tower(inputs["pixel_values"], grid_thw=grids, **self._geometry_once(tower, grids))
        counts = (grids.prod(-1) // self.merge**2).tolist()
        layers = [layer.split(counts) for layer in getattr(output, "deepstack_features", None) or []]
        return [
            ImageFeatures(rows_TD, tuple(layer[index] for layer in layers))
            for index, rows_TD in enumerate(output.pooler_output.split(counts))
        ]

    def geometry(self, tower: Any, grids: torch.Tensor) -> dict[str, Any]:
        """What the tower would work out from the grids [images, 3] one image at a time."""
        whole = _frames(grids)
        return {
            "position_ids": get_vision_position_ids(grids, self.merge),
            # One chunk for transformers, which would loop over segments; the layout splits it.
            "cu_seqlens": torch.tensor([0, sum(whole)], dtype=torch.int32),
            "layout": Segments(whole, whole, None, grids.device),
        }

    def _geometry_once(self, tower: Any, grids: torch.Tensor) -> dict[str, Any]:
        """The geometry, remembered per batch shape; a copy, for the tower takes things out of it."""
        key = tuple(map(tuple, grids.tolist()))
        if key not in self._geometries:
            self._geometries[key] = self.geometry(tower, grids)
        self._geometries.move_to_end(key)
        if len(self._geometries) > GEOMETRIES:
            self._geometries.popitem(last=False)
        return dict(self._geometries[key])


class Glm4v(QwenVL):
    """GLM-4.1V, 4.5V and 4.6V (arXiv 2507.01006): the same positions; own code cuts patches and sees them."""

    features = Family.features

    def encoder_by_processor(self, *given: Any) -> Encoder:
        return GridEncoder(self.image_token, self.merge, *given)


class Qwen2_5VL(QwenVL):
    """Qwen2.5-VL (arXiv 2502.13923): most layers of the tower attend within windows."""

    def geometry(self, tower: Any, grids: torch.Tensor) -> dict[str, Any]:
        made = super().geometry(tower, grids)
        order, bounds = get_vision_window_index(
            grids, self.merge, window_size=tower.window_size, patch_size=tower.patch_size
        )
        whole_modules = frozenset(id(tower.blocks[index].attn) for index in tower.fullatt_block_indexes)
        return made | {
            "window_index": order.to(grids.device),
            "cu_window_seqlens": made["cu_seqlens"],
            "layout": Segments(_frames(grids), bounds.diff().tolist(), whole_modules, grids.device),
        }


class Qwen3VL(QwenVL):
    """Qwen3-VL (arXiv 2511.21631): inner layers of the tower have features, too (DeepStack)."""

    def beside_images(self, is_image_N: torch.Tensor, shown: Sequence[ImageFeatures]) -> dict[str, Any]:
        layers = zip(*(image.deep for image in shown), strict=True)
        return {
            "visual_pos_masks": is_image_N[None],
            "deepstack_visual_embeds": [torch.cat(layer) for layer in layers],
        }


def _frames(grids: torch.Tensor) -> list[int]:
    """Patches of every frame of every image: each attends to itself alone."""
    return [height * width for frames, height, width in grids.tolist() for _ in range(frames)]


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
        return linear(pixels, convolution.weight.flatten(1), convolution.bias)

    patch_embed.forward = forward
    try:
        yield
    finally:
        del patch_embed.forward
