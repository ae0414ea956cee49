"""From a stored picture, in whatever format and mode, to what a model sees: upright, 8-bit RGB, on white."""

from __future__ import annotations

import warnings
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import cast

from PIL import ExifTags, Image, ImageOps

# What Pillow decodes itself: the formats that it hands to an outside program (EPS) are none of them.
FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "ICO", "PCX", "DDS", "PSD",
    "QOI", "SGI", "TGA",
)  # fmt: skip
MOST_PIXELS = 89_478_485  # a quarter of a gigabyte as RGB; beyond it Pillow warns of a bomb
DARK = 1 / 8  # of the range that a format has: the brightest value of a picture that was stored in fewer bits

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # it is an error here


class BadImage(ValueError):
    """An image that cannot be used, and why."""


@cache
def _at_hand() -> list[str]:
    """`FORMATS` without those that this release of Pillow does not know."""
    Image.init()
    return [form for form in FORMATS if form in Image.OPEN]


def opened(source: bytes | Path | str) -> Image.Image:
    """The picture in a file, not decoded yet.

    Raises:
        OSError: it is not there, or no picture in one of `FORMATS`.
        BadImage: it has more than `MOST_PIXELS`.
    """
    image = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=_at_hand())
    if image.width * image.height > MOST_PIXELS:
        raise BadImage(f"{image.width} x {image.height} pixels are more than {MOST_PIXELS:,}; scale it down")
    return image


def as_seen(image: Image.Image) -> Image.Image:
    """The picture upright, in RGB, on white where it is transparent; itself, if it is so already.

    Greys of more than 8 bits are scaled by the range of their format: whole numbers have as many bits as
    the file says, else 16; floats go up to 1 if all lie within 0 to 1, else to 255.

    Raises:
        OSError: its file is damaged.
        BadImage: its values leave that range, or lie in its darkest eighth: a picture of fewer bits than
            its format has (X-rays of 12 in 16), which would be seen as black.
    """
    form = str(getattr(image, "tile", [])[:1])  # forgotten on loading
    _scale_clear(image, form)
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    elif ";16" in form and image.mode.startswith("RGB"):
        brightest = max(_extremes(image.getchannel(band))[1] for band in "RGB")
        _check_bright(brightest, 255, "16-bit colour, as 8 bits,")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as `as_seen` gives them, without decoding."""
    # A PNG may tell after its pixels, and TIFF's own size is turned already.
    told = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
    turned = told and image.getexif().get(ExifTags.Base.Orientation, 1) in range(5, 9)
    return (image.height, image.width) if turned else image.size


def _scale_clear(image: Image.Image, form: str) -> None:
    """Say in 8 bits, as Pillow gives the pixels, which colour of a PNG of 2, 4 or 16 bits is transparent."""
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and "RGB;16" in form:
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    elif isinstance(clear, int) and ("L;2" in form or "L;4" in form):
        image.info["transparency"] = clear * (85 if "L;2" in form else 17)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of whole numbers or floats as 8 bits, with what of it is transparent."""
    if image.mode == "F":
        kind = "float grey"
        low, high = _extremes(image)
        top, scale = (1, 255.0) if high <= 1 else (255, 1.0)
    else:
        bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (16,))[0]  # of TIFF
        bits, image = min(bits, 16), image.convert("I")
        kind = f"{bits}-bit grey"
        low, high = _extremes(image)
        top, scale = 2**bits - 1, 2.0 ** (8 - bits)
    if not 0 <= low <= high <= top:
        raise BadImage(f"its values go from {low:g} to {high:g}, not from 0 to {top}; {_STORE}")
    _check_bright(high, top, kind)
    grey = image.point(lambda value: value * scale).convert("L")
    if isinstance(clear := grey.info.pop("transparency", None), int):  # in 16 bits, as the picture was
        grey.putalpha(image.point([255 * (value != clear) for value in range(1 << 16)], "L"))
    return grey


def _extremes(image: Image.Image) -> tuple[float, float]:
    """The lowest and highest value of a picture of one channel."""
    low, high = image.getextrema()
    return cast(float, low), cast(float, high)


def _check_bright(high: float, top: float, kind: str) -> None:
    if 0 < high < top * DARK:
        raise BadImage(f"its brightest {kind} is {high:g} of {top}, so it would be seen as black; {_STORE}")


_STORE = "save it in 8 bits, scaled as it should be seen"
