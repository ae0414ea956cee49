"""A quick look at image files while preparing: can they be read, and how large are they?"""

from __future__ import annotations

import warnings
from io import BytesIO

from PIL import Image

SMALLEST_SIDE = 28  # pixels; a patch of Qwen2-VL's family covers 28 x 28

_FORMS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND"}  # how JPEG and PNG files begin and end


class BadImage(Exception):
    """An image that cannot be used, and why."""


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height; the header, check sums (PNG) and the file's end are looked at, pixels not decoded.

    That finds files that are no image, and downloads that were cut off, at thousands a second.

    Raises:
        BadImage: it is empty, no image, damaged or cut off.
    """
    if not data:
        raise BadImage("empty")
    for begin, end in _FORMS.items():
        if data.startswith(begin) and end not in data[-4096:]:  # cameras may append a few bytes
            raise BadImage("cut off")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data)) as image:
                width, height = image.size
                image.verify()
    except Exception as error:  # broken files make decoders raise almost anything
        raise BadImage(f"no image, or damaged ({type(error).__name__})") from None
    return width, height
