"""Images to the patches that a Qwen-VL vision tower takes: whole batches at once.

Does exactly what the checkpoint's image processor does, bit for bit. Pixels are 8-bit, so rescaling
and normalising are a table of 256 entries per channel, filled by the processor itself; images of
one size are cut into patches together, on the device that takes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from holdfast.errors import InputError
from holdfast.policy.cache import ByteCache
from holdfast.tasks.example import ImageSource, held_bytes, name_of, open_image

# Decoded and resized pixels of this process, whichever policy asks: a run sees the same images at every
# stage and in every evaluation. They take a twelfth of the patches made from them, or less.
PIXELS: ByteCache[tuple[ImageSource, Picture]] = ByteCache(1 << 30)
# Those of image objects, which are decoded already: less work to make again, and each holds its object too.
OBJECTS: ByteCache[tuple[ImageSource, Picture]] = ByteCache(96 << 20)
AHEAD = ThreadPoolExecutor(1, thread_name_prefix="pictures")  # Pillow decodes beside Python


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
        device: where patches are made.
        dtype: theirs; the tower's, which would turn them into it.
    """

    def __init__(
        self,
        image_processor: Any,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.device, self.dtype = torch.device(device), dtype
        self.patch = image_processor.patch_size
        self.merge = image_processor.merge_size
        self.frames = image_processor.temporal_patch_size
        own = image_processor.size
        self.min_pixels = own["shortest_edge"] if min_pixels is None else min_pixels
        self.max_pixels = own["longest_edge"] if max_pixels is None else max_pixels
        counts = {"patch_size": self.patch, "merge_size": self.merge, "temporal_patch_size": self.frames}
        size = {"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels}
        for name, count in (counts | size).items():
            if type(count) is not int or count < 1:
                raise InputError(
                    f"The image processor's {name} is {count!r}; it must be a whole number above 0."
                )
        if self.min_pixels > self.max_pixels:
            raise InputError(
                f"min_pixels ({self.min_pixels}) is larger than max_pixels ({self.max_pixels}); "
                "set both under model."
            )
        image_processor.size = size
        self.resample = Image.Resampling(image_processor.resample)
        self.resize = image_processor.do_resize
        table_C256 = _value_table(image_processor)
        if not np.isfinite(table_C256).all():
            raise InputError(
                "The image processor makes values of pixels that are not finite; see its image_std, "
                "image_mean and rescale_factor."
            )
        self.table_C256 = torch.from_numpy(table_C256).to(self.device, self.dtype)

    def picture(self, source: ImageSource) -> Picture:
        """Decoded and resized; remembered, so that an image object must not change afterwards.

        Raises:
            HoldfastError: it cannot be read.
            ValueError: it is empty, too long and narrow, or not of whole patches and never resized.
        """
        key = (
            name_of(source),
            self.resize,
            self.min_pixels,
            self.max_pixels,
            self.patch * self.merge,
            self.resample,
        )
        cache = OBJECTS if isinstance(source, Image.Image) else PIXELS
        known = cache.get(key)
        if known is not None:
            return known[1]
        image = open_image(source)
        size = self.size_in(*image.size)
        pixels_HWC = np.asarray(image if size == image.size else image.resize(size, resample=self.resample))
        digest = blake2b(str(pixels_HWC.shape).encode(), digest_size=16)
        digest.update(pixels_HWC.tobytes())
        made = Picture(pixels_HWC, digest.digest())
        # The source is kept with it: an id is only unique among objects that live.
        cache.put(key, (source, made), pixels_HWC.nbytes + held_bytes(source))
        return made

    def prepare(self, sources: Iterable[ImageSource]) -> None:
        """Begin to decode pictures that are soon asked for, in a thread; `picture` finds them remembered.

        Image objects are left out: they are decoded, or belong to another thread.
        """

        def decode(source: ImageSource) -> None:
            with suppress(Exception):  # `picture` meets it again, and says whose it is
                self.picture(source)

        for source in sources:
            if not isinstance(source, Image.Image):
                AHEAD.submit(decode, source)

    def patches(self, pictures: Sequence[Picture]) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches of all pictures, in order.

        Returns:
            pixel_values: [patches of all images, channels * frames * patch * patch], on `device` in `dtype`.
            image_grid_thw: int64 [images, 3]; frames (1), rows and columns of patches. On the CPU.
        """
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, picture in enumerate(pictures):
            by_size.setdefault(picture.pixels_HWC.shape[:2], []).append(index)
        patches: list[torch.Tensor] = [torch.empty(0)] * len(pictures)
        grids = np.ones((len(pictures), 3), dtype=np.int64)
        for (height, width), indices in by_size.items():
            cut = self._cut(np.stack([pictures[index].pixels_HWC for index in indices]))
            for index, made in zip(indices, cut, strict=True):
                patches[index] = made
            grids[indices, 1:] = height // self.patch, width // self.patch
        together = cut.flatten(0, 1) if len(by_size) == 1 else torch.cat(patches)
        return together, torch.from_numpy(grids)

    def size_in(self, width: int, height: int) -> tuple[int, int]:
        """The width and height in which an image of this size is seen.

        Raises:
            ValueError: it is empty, too long and narrow, or not of whole patches and never resized.
        """
        unit = self.patch * self.merge
        if not (width and height):
            raise ValueError(f"it has no pixels ({width} x {height})")
        if not self.resize:
            if width % unit or height % unit:
                raise ValueError(
                    f"its {width} x {height} pixels are no multiple of {unit}, and the image processor does "
                    "not resize (do_resize is false)"
                )
            return width, height
        height, width = smart_resize(height, width, unit, self.min_pixels, self.max_pixels)
        return width, height

    def _cut(self, pixels_NHWC: np.ndarray) -> torch.Tensor:
        """[N, patches, features]: patches of one merged token lie together, as the tower wants them.

        8-bit pixels, an eighth of the patches, are laid out; then their values are looked up.
        """
        count, height, width, channels = pixels_NHWC.shape
        patch, merge = self.patch, self.merge
        rows, columns = height // patch, width // patch
        cut = (
            torch.from_numpy(pixels_NHWC)
            .to(self.device)
            .view(count, rows // merge, merge, patch, columns // merge, merge, patch, channels)
            .permute(0, 1, 4, 2, 5, 7, 3, 6)  # image, block row, block column, row, column, channel, y, x
            .reshape(count, rows * columns, channels, 1, patch**2)
        )
        starts = torch.arange(0, 256 * channels, 256, dtype=torch.int32, device=self.device)
        places = (cut.int() + starts.view(-1, 1, 1)).flatten()
        still = self.table_C256.flatten().index_select(0, places).view_as(cut)
        return still.expand(-1, -1, -1, self.frames, -1).reshape(count, rows * columns, -1)


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
