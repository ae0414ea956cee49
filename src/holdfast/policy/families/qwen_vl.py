"""Qwen-VL: patches of any number of images in one row, and M-RoPE.

Patches are cut here for whole batches, and the vision tower is driven here, one segment of attention per
image or window.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from holdfast.policy.attention import Segments
from holdfast.policy.encode import Encoder, check_images
from holdfast.policy.families.family import MERGERS, Family, ImageFeatures
from holdfast.policy.families.mrope import mrope_positions
from holdfast.policy.images import PatchMaker, Picture, supports
from holdfast.policy.processed import collate
from holdfast.policy.settings import ModelSettings
from holdfast.tasks.example import ImageSource

GEOMETRIES = 64  # shapes of batches that are remembered


class QwenVL(Family):
    """Qwen2-VL (arXiv 2409.12191), and what its successors have in common with it."""

    text = "language_model"
    vision, projector = ("visual",), MERGERS
    axes = 3

    def __init__(self, config: Any):
        super().__init__(config)
        self._geometries: OrderedDict[tuple, dict[str, Any]] = OrderedDict()

    def encoder(self, processor: Any, settings: ModelSettings) -> Encoder:
        if not supports(processor.image_processor):
            return super().encoder(processor, settings)
        patches = PatchMaker(processor.image_processor, settings.min_pixels, settings.max_pixels)
        return PatchEncoder(
            processor, patches, self.image_token, self.context(settings), settings.system_prompt
        )

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

    def beside(self, is_image_N: torch.Tensor, shown: Sequence[ImageFeatures]) -> dict[str, Any]:
        layers = zip(*(image.deep for image in shown), strict=True)
        return {
            "visual_pos_masks": is_image_N[None],
            "deepstack_visual_embeds": [torch.cat(layer) for layer in layers],
        }


class PatchEncoder(Encoder):
    """Tokenises for a model whose images are cut into patches here.

    Args:
        processor: the checkpoint's.
        patches: what cuts them.
        image_token: id that stands for one merged patch of an image.
        max_context: most tokens a prompt may have.
    """

    shows_images = True

    def __init__(
        self,
        processor: Any,
        patches: PatchMaker,
        image_token: int,
        max_context: int,
        system_prompt: str | None,
    ):
        super().__init__(processor, max_context, system_prompt)
        self.patches, self.image_token = patches, image_token

    def _picture(self, image: ImageSource) -> Picture:
        return self.patches.picture(image)

    def _tokenise(
        self, rendered: list[str], distinct: Sequence[Any], uses: Sequence[tuple[int, ...]]
    ) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, Any]]:
        pixels, grids = self.patches.patches(distinct) if distinct else (None, None)
        shapes = [] if grids is None else grids.tolist()
        rows, positions = [], []
        for index, (ids, used) in enumerate(zip(self._ids(rendered), uses, strict=True)):
            shown = [shapes[image] for image in used]
            rows.append(self._expand(index, np.asarray(ids, dtype=np.int64), shown))
            positions.append(mrope_positions(rows[-1], self.image_token, shown, self.patches.merge))
        return rows, positions, {"pixel_values": pixels, "image_grid_thw": grids}

    def _expand(self, index: int, ids: np.ndarray, shown: Sequence[Sequence[int]]) -> np.ndarray:
        """Each image's placeholder repeated once per token of the image."""
        is_image = ids == self.image_token
        check_images(index, int(is_image.sum()), len(shown))
        repeats = np.ones(len(ids), dtype=np.int64)
        repeats[is_image] = [math.prod(grid) // self.patches.merge**2 for grid in shown]
        return ids.repeat(repeats)


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
        return F.linear(pixels, convolution.weight.flatten(1), convolution.bias)

    patch_embed.forward = forward
    try:
        yield
    finally:
        del patch_embed.forward
