"""What is given to a policy from outside, such as a notebook: seen to be what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from holdfast.errors import InputError, shortened
from holdfast.tasks.example import ImageSource, LazyImage

_ONE = str | bytes | Path | Image.Image | LazyImage


def pictures(prompts: Sequence[str], images: Any) -> list[list[ImageSource]]:
    """The pictures of each prompt; those named by text as paths, which are read again when a file changes.

    Raises:
        InputError: they are no lists of pictures, one for each prompt, or the prompts no texts.
    """
    given: Any = prompts
    if isinstance(given, str) or not all(isinstance(text, str) for text in given):
        raise InputError(f"prompts is {shortened(repr(given))}; it must be a list of texts.")
    if not prompts:
        raise InputError("prompts is empty; give at least one text.")
    rows = None if images is None or isinstance(images, _ONE) else [*images]
    if rows is None or any(row is None or isinstance(row, _ONE) for row in rows):
        raise InputError(
            "images must hold a list of pictures for each prompt, such as [[picture], []]; an empty one for "
            "a prompt without any."
        )
    if len(rows) != len(prompts):
        raise InputError(
            f"There are {len(prompts)} prompts and pictures for {len(rows)}; give a list for each."
        )
    return [[_source(picture, index) for picture in row] for index, row in enumerate(rows)]


def _source(picture: Any, index: int) -> ImageSource:
    if isinstance(picture, str):
        return Path(picture)
    if not isinstance(picture, ImageSource):
        raise InputError(
            f"A picture of prompt {index} is of the type {type(picture).__name__}; give a path, bytes of a "
            "file, or a PIL image (PIL.Image.fromarray makes one of an array)."
        )
    return picture
