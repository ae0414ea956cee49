"""Images to the patches that a Qwen-VL vision tower takes: whole batches at once.

Does exactly what the checkpoint's image processor does, bit for bit. Pixels are 8-bit, so rescaling
and normalising are a table of 256 entries per channel, filled by the processor itself; images of
one size are cut into patches together.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from holdfast.errors import InputError
from holdfast.policy.cache import ByteCache
from holdfast.tasks.example import ImageSource, open_image

# Decoded and resized pixels of this process, whichever policy asks: a run sees the same images at every
# stage and in every evaluation. They take a twelfth of the patches made from them, or less.
PIXELS: ByteCache[tuple[ImageSource, Picture]] = ByteCache(1 << 30)


@dataclass(frozen=True)
class Picture:
    """An image in the size the model sees it in.

    Attributes:
        pixels_HWC: 8-bit RGB.
        key: digest of the pixels; equal pictures have equal keys.
    """

    pixels_HWC: np.ndarray
    key: bytes


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

    def picture(self, source: ImageSource) -> Picture:
        """Decoded and resized; remembered, so that an image object or file must not change afterwards.

        Raises:
            HoldfastError: it cannot be read.
            ValueError: it is empty, too long and narrow, or not of whole patches and never resized.
        """
        name: Hashable = id(source) if isinstance(source, Image.Image) else source
        key = (name, self.resize, self.min_pixels, self.max_pixels, self.patch * self.merge, self.resample)
        known = PIXELS.get(key)
        if known is not None:
            return known[1]
        pixels_HWC = np.asarray(self._sized(open_image(source)))
        digest = blake2b(str(pixels_HWC.shape).encode(), digest_size=16)
        digest.update(pixels_HWC.tobytes())
        made = Picture(pixels_HWC, digest.digest())
        # The source is kept with it: an id is only unique among objects that live.
        PIXELS.put(key, (source, made), pixels_HWC.nbytes + _size(source))
        return made

    def patches(self, pictures: Sequence[Picture]) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches of all pictures, in order.

        Returns:
            pixel_values: float32 [patches of all images, channels * frames * patch * patch].
            image_grid_thw: int64 [images, 3]; frames (1), rows and columns of patches.
        """
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, picture in enumerate(pictures):
            by_size.setdefault(picture.pixels_HWC.shape[:2], []).append(index)
        patches: list[np.ndarray | None] = [None] * len(pictures)
        grids = np.ones((len(pictures), 3), dtype=np.int64)
        for (height, width), indices in by_size.items():
            pixels_NHWC = np.stack([pictures[index].pixels_HWC for index in indices])
            for index, made in zip(indices, self._cut(pixels_NHWC), strict=True):
                patches[index] = made
            grids[indices, 1:] = height // self.patch, width // self.patch
        return torch.from_numpy(np.concatenate(patches)), torch.from_numpy(grids)  # type: ignore[arg-type]

    def _sized(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        unit = self.patch * self.merge
        if not (width and height):
            raise ValueError(f"it has no pixels ({width} x {height})")
        if not self.resize:
            if width % unit or height % unit:
                raise ValueError(
                    f"its {width} x {height} pixels are no multiple of {unit}, and the image processor does "
                    "not resize (do_resize is false)"
                )
            return image
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


def _size(source: ImageSource) -> int:
    """Bytes that keeping an image's source takes."""
    if isinstance(source, Image.Image):
        return 3 * source.width * source.height
    return len(source) if isinstance(source, bytes) else 0


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
