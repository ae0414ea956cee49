"""A quick look at image files while preparing: can they be read, and how large are they?"""

from __future__ import annotations

import warnings
from io import BytesIO

from PIL import Image

SMALLEST_SIDE = 28  # pixels; a patch of Qwen2-VL's family covers 28 x 28

_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}


class BadImage(Exception):
    """An image that cannot be used, and why."""


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height; the header is parsed and the file's end looked at, pixels are not decoded.

    That finds files that are no image, and downloads that were cut off, at thousands a second.

    Raises:
        BadImage: it is empty, no image, or cut off.
    """
    if not data:
        raise BadImage("empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data)) as image:
                kind, size = image.format, image.size
    except Exception as error:  # broken files make decoders raise almost anything
        raise BadImage(f"no image ({type(error).__name__})") from None
    if (end := _ENDS.get(kind or "")) and end not in data[-4096:]:  # cameras may append a few bytes
        raise BadImage("cut off")
    return size
