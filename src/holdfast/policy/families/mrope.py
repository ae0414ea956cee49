"""Rotary positions of prompts with images (M-RoPE, arXiv 2409.12191, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mrope_positions(
    tokens: np.ndarray, image_token: int, grids_thw: Sequence[Sequence[int]], merge: int
) -> np.ndarray:
    """Positions of one unpadded prompt on the time, height and width axes.

    Text advances all axes by one per token. An image starts all axes at the same position, spans its
    grid of merged patches, and the text after it goes on from the largest position it used.

    Args:
        tokens: [length] ids, each image standing as its run of image tokens.
        grids_thw: patches in time, height and width of each image, in order.
        merge: patches per side of one token.

    Returns:
        int64 [3, length].
    """
    positions_3L = np.empty((3, len(tokens)), dtype=np.int64)
    image_places = np.flatnonzero(tokens == image_token)
    cursor, position, seen = 0, 0, 0
    for frames, height, width in grids_thw:
        rows, columns = height // merge, width // merge
        count = frames * rows * columns
        start = image_places[seen]
        positions_3L[:, cursor:start] = np.arange(position, position + start - cursor)
        position += start - cursor
        block = np.indices((frames, rows, columns)).reshape(3, count)
        positions_3L[:, start : start + count] = block + position
        position += max(rows, columns)
        cursor, seen = start + count, seen + count
    positions_3L[:, cursor:] = np.arange(position, position + len(tokens) - cursor)
    return positions_3L
