"""Prompts for Qwen-VL and its kin: images cut into patches for whole batches, and M-RoPE."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from holdfast.policy.encode import Encoder, Tokenised, Uses, check_images
from holdfast.policy.images import PatchMaker, Picture
from holdfast.policy.processed import ProcessorEncoder
from holdfast.tasks.example import ImageSource

LAYOUTS = 256  # lengths and places of images whose positions are remembered


class PatchEncoder(Encoder):
    """Tokenises for a model whose images are cut into patches here.

    Args:
        patches: what cuts them.
        image_token: id that stands for one merged patch of an image.
        others: as `Encoder` takes them.
    """

    shows_images = True

    def __init__(self, patches: PatchMaker, image_token: int, *others: Any):
        super().__init__(*others)
        self.patches, self.image_token = patches, image_token

    def prepare(self, images: Iterable[ImageSource]) -> None:
        self.patches.prepare(images)

    def _image_places(self, rendered: str, ids: list[int]) -> int:
        return ids.count(self.image_token)

    def _image_tokens(self, size: tuple[int, int]) -> int:
        width, height = self.patches.size_in(*size)
        return (width * height) // (self.patches.patch * self.patches.merge) ** 2

    def _picture(self, image: ImageSource) -> Picture:
        return self.patches.picture(image)

    def _tokenise(self, rendered: list[str], distinct: Sequence[Any], uses: Uses) -> Tokenised:
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


class GridEncoder(ProcessorEncoder):
    """The same positions, where the checkpoint's own processor cuts the patches.

    Args:
        image_token, merge: as `mrope_positions` takes them.
        others: as `ProcessorEncoder` takes them.
    """

    def __init__(self, image_token: int, merge: int, *others: Any):
        super().__init__(*others)
        self.image_token, self.merge = image_token, merge

    def _tokenise(self, rendered: list[str], distinct: Sequence[Any], uses: Uses) -> Tokenised:
        rows, _, inputs = super()._tokenise(rendered, distinct, uses)
        grids = [image.inputs["image_grid_thw"][0].tolist() for image in distinct]
        positions = [
            mrope_positions(row, self.image_token, [grids[image] for image in used], self.merge)
            for row, used in zip(rows, uses, strict=True)
        ]
        return rows, positions, inputs


def mrope_positions(
    tokens: np.ndarray, image_token: int, grids_thw: Sequence[Sequence[int]], merge: int
) -> np.ndarray:
    """Positions of one unpadded prompt on the time, height and width axes (arXiv 2409.12191, sec. 2.1).

    Text advances all axes by one per token. An image starts all axes at the same position, spans its
    grid of merged patches, and the text after it goes on from the largest position it used.

    Args:
        tokens: [length] ids, each image standing as its run of image tokens.
        grids_thw: patches in time, height and width of each image, in order.
        merge: patches per side of one token.

    Returns:
        int64 [3, length], not to be written to.
    """
    starts, seen = [], 0
    if grids_thw:
        image_places = np.flatnonzero(tokens == image_token)
        for grid in grids_thw:
            starts.append(int(image_places[seen]))
            seen += math.prod(grid) // merge**2
    return _positions(len(tokens), tuple(starts), tuple(map(tuple, grids_thw)), merge)


@lru_cache(LAYOUTS)
def _positions(
    length: int, starts: tuple[int, ...], grids_thw: tuple[tuple[int, ...], ...], merge: int
) -> np.ndarray:
    """`mrope_positions` of a prompt whose images start at these tokens."""
    positions_3L = np.empty((3, length), dtype=np.int64)
    cursor = position = 0
    for start, (frames, height, width) in zip(starts, grids_thw, strict=True):
        rows, columns = height // merge, width // merge
        count = frames * rows * columns
        positions_3L[:, cursor:start] = np.arange(position, position + start - cursor)
        position += start - cursor
        block = np.indices((frames, rows, columns)).reshape(3, count)
        positions_3L[:, start : start + count] = block + position
        position += max(rows, columns)
        cursor = start + count
    positions_3L[:, cursor:] = np.arange(position, position + length - cursor)
    positions_3L.setflags(write=False)
    return positions_3L
