"""Images to the patches that a Qwen-VL vision tower takes: whole batches at once.

Does exactly what the checkpoint's image processor does, bit for bit. Pixels are 8-bit, so rescaling
and normalising are a table of 256 entries per channel, filled by the processor itself; images of
one size are cut into patches together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from holdfast.errors import InputError


class PatchMaker:
    """Turns RGB images into patches.

    Args:
        image_processor: the checkpoint's; its sizes, means and resampling are used.
        min_pixels, max_pixels: override the processor's bounds on an image's area.
    """

    def __init__(self, image_processor: Any, min_pixels: int | None = None, max_pixels: int | None = None):
        size = {key: image_processor.size[key] for key in ("shortest_edge", "longest_edge")}
        if min_pixels is not None:
            size["shortest_edge"] = min_pixels
        if max_pixels is not None:
            size["longest_edge"] = max_pixels
        self.min_pixels, self.max_pixels = size["shortest_edge"], size["longest_edge"]
        if self.min_pixels > self.max_pixels:
            raise InputError(
                f"min_pixels ({self.min_pixels}) is larger than max_pixels ({self.max_pixels}); "
                "set both under model."
            )
        image_processor.size = size
        self.patch = image_processor.patch_size
        self.merge = image_processor.merge_size
        self.frames = image_processor.temporal_patch_size
        self.resample = Image.Resampling(image_processor.resample)
        self.resize = image_processor.do_resize
        self.table_C256 = _value_table(image_processor)

    def __call__(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches of all images, in order.

        Returns:
            pixel_values: float32 [patches of all images, channels * frames * patch * patch].
            image_grid_thw: int64 [images, 3]; frames (1), rows and columns of patches.

        Raises:
            ValueError: an image is too long and narrow.
        """
        sized = [self._sized(image) for image in images]
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(sized):
            by_size.setdefault(image.size, []).append(index)
        patches: list[np.ndarray | None] = [None] * len(sized)
        grids = np.ones((len(sized), 3), dtype=np.int64)
        for (width, height), indices in by_size.items():
            pixels_NHWC = np.stack([np.asarray(sized[index]) for index in indices])
            for index, made in zip(indices, self._cut(pixels_NHWC), strict=True):
                patches[index] = made
            grids[indices, 1:] = height // self.patch, width // self.patch
        return torch.from_numpy(np.concatenate(patches)), torch.from_numpy(grids)  # type: ignore[arg-type]

    def _sized(self, image: Image.Image) -> Image.Image:
        if image.mode != "RGB":
            image = image.convert("RGB")
        if not self.resize:
            return image
        width, height = image.size
        unit = self.patch * self.merge
        height, width = smart_resize(height, width, unit, self.min_pixels, self.max_pixels)
        if (width, height) == image.size:
            return image
        return image.resize((width, height), resample=self.resample)

    def _cut(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """[N, patches, features]: patches of one merged token lie together, as the tower wants them."""
        count, height, width, channels = pixels_NHWC.shape
        rows, columns = height // self.patch, width // self.patch
        values_NCHW = np.stack([self.table_C256[c][pixels_NHWC[..., c]] for c in range(channels)], axis=1)
        cut = values_NCHW.reshape(
            count,
            channels,
            rows // self.merge,
            self.merge,
            self.patch,
            columns // self.merge,
            self.merge,
            self.patch,
        ).transpose(0, 2, 5, 3, 6, 1, 4, 7)  # image, block row, block column, row, column, channel, y, x
        still = np.broadcast_to(cut[:, :, :, :, :, :, None], (*cut.shape[:6], self.frames, *cut.shape[6:]))
        return still.reshape(count, rows * columns, channels * self.frames * self.patch * self.patch)


def supports(image_processor: Any) -> bool:
    """Whether `PatchMaker` can stand in for this image processor (its torchvision twin included)."""
    return type(image_processor).__name__.startswith("Qwen2VLImageProcessor")


def _value_table(image_processor: Any) -> np.ndarray:
    """float32 [channels, 256]: what the processor makes of each 8-bit value."""
    values = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256))
    pillow = Qwen2VLImageProcessorPil()  # the torchvision twin has the same settings but wants tensors
    if image_processor.do_rescale:
        values = pillow.rescale(values, image_processor.rescale_factor)
    if image_processor.do_normalize:
        values = pillow.normalize(values, image_processor.image_mean, image_processor.image_std)
    return np.ascontiguousarray(np.asarray(values, dtype=np.float32)[:, 0])
