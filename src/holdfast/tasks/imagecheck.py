"""A look at image files before they are used: can they be read whole, and how large are they?"""

from __future__ import annotations

import re
import struct
import warnings
import zlib

from PIL import Image

from holdfast.tasks.pictures import BadImage, as_seen, opened

SMALLEST_SIDE = 28  # pixels; a patch of Qwen2-VL's family covers 28 x 28

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_OTHERS = (  # what else lies under the name of a picture
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS; 'git lfs pull' fetches the picture"),
    (re.compile(rb".{4}ftyp(?:hei|hev|mif|msf)", re.DOTALL), "HEIC; save it as JPEG"),
    (re.compile(rb"%PDF"), "a PDF; save its page as PNG"),
    (re.compile(rb"\s*<(?:\?xml\b.{0,2000}?<svg|svg)\b", re.DOTALL), "an SVG; save it as PNG"),
    (re.compile(rb"\s*<(?:!doctype html|html)\b", re.IGNORECASE), "a web page; download the picture again"),
)
_NOT_IN_SCAN = bytes(range(1, 200))  # as good as any bytes that a picture does not go on with


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a picture that is whole; bytes after its end (of phones, say) do not count.

    Pixels are decoded, as nothing else finds a file that breaks off: JPEGs at an eighth of their size, which
    takes half the time.

    Raises:
        BadImage: it is empty, no image, damaged, cut off, too large, or too dark (`pictures.as_seen`).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return look(data)


def look(data: bytes) -> tuple[int, int]:
    """`size_of` for threads: warnings of decoders are not silenced."""
    if not data:
        raise BadImage("empty")
    try:
        if data.startswith(_JPEG):
            return _size_of_jpeg(data)
        if data.startswith(_PNG):
            return _size_of_png(data)
        with opened(data) as image:
            size = image.size
            as_seen(image)
            return size
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(str(error)) from None
    except Exception as error:  # broken files make decoders raise almost anything
        if other := next((what for start, what in _OTHERS if start.match(data)), None):
            raise BadImage(f"no image that can be read, but {other}") from None
        raise BadImage(f"no image, or damaged ({type(error).__name__})") from None


def _size_of_png(data: bytes) -> tuple[int, int]:
    if b"IEND" not in data:
        raise BadImage("cut off")
    opened(data).verify()  # check sums, at which decoding does not look
    with opened(data) as image:
        width, height = image.size
        as_seen(image)
        last = image.crop((0, height - 1, width, height))
    # Rows that are missing at the end stay zero without an error.
    if not any(last.tobytes()) and len(_rows_of_png(data)) < _bytes_of_png(data):
        raise BadImage("cut off: rows are missing at its end")
    return width, height


def _bytes_of_png(data: bytes) -> int:
    """How many bytes its rows should take; 0 of a picture whose rows are interlaced."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    return 0 if interlaced else height * (1 + (width * depth * channels + 7) // 8)


def _rows_of_png(data: bytes) -> bytes:
    place, packed = len(_PNG), []
    while (name := data[place + 4 : place + 8]) != b"IEND":
        length = int.from_bytes(data[place : place + 4])
        if name == b"IDAT":
            packed.append(data[place + 8 : place + 8 + length])
        place += 12 + length
    return zlib.decompressobj().decompress(b"".join(packed), _bytes_of_png(data))


def _size_of_jpeg(data: bytes) -> tuple[int, int]:
    scan = _first_scan(data)
    end = data.find(_END, scan)
    with opened(data) as image:
        size = image.size
    if end < 0:
        raise BadImage("cut off")
    small = _eighth(data)
    # What is missing before an end mark is decoded as grey; bytes put there change it, and no whole picture.
    if _is_grey(small.getpixel((small.width - 1, small.height - 1))):
        longer = data[:end] + _NOT_IN_SCAN + data[end:]
        if small.tobytes() != _eighth(longer).tobytes():
            raise BadImage("cut off before its end mark")
    return size


def _eighth(data: bytes) -> Image.Image:
    image = opened(data)
    image.draft(None, (1, 1))
    image.load()
    return image


def _is_grey(pixel: object) -> bool:
    values = pixel if isinstance(pixel, tuple) else (pixel,)
    return all(value in (127, 128) for value in values[:3])


def _first_scan(data: bytes) -> int:
    """Where a JPEG's first scan begins, after segments that say their length; its size if it has none.

    A preview within them (EXIF) is a JPEG with an end of its own.
    """
    place = len(_JPEG)
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            break
        if data[place : place + 2] == _SCAN:
            return place
        filler = data[place + 1] == 0xFF
        place += 1 if filler else 2 + int.from_bytes(data[place + 2 : place + 4])
    return len(data)
