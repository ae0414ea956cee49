"""Pictures of every kind: found whole or broken before they are used, and seen as their makers meant them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from holdfast.errors import HoldfastError
from holdfast.tasks import pictures
from holdfast.tasks.example import open_image
from holdfast.tasks.imagecheck import size_of
from holdfast.tasks.pictures import BadImage

NOISE = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def stored(form: str, mode: str = "RGB", **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(NOISE).convert(mode).save(file, form, **options)
    return file.getvalue()


def grey(values: np.ndarray, form: str) -> bytes:
    file = BytesIO()
    Image.fromarray(values).save(file, form)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, clear: bytes = b"") -> bytes:
    """A PNG by hand, its check sums right whatever its data are.

    Args:
        clear: the colour that is transparent.
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + (clear and chunk(b"tRNS", clear))
    return start + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "MPO", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("count", [3, 5_000, 50_000])
def test_bytes_after_the_end_do_not_count(form, count):
    """A phone's video behind a photo, padding, a tool's notes."""
    assert size_of(stored(form) + bytes(count)) == (128, 96)


def test_the_end_of_a_preview_is_not_that_of_the_picture():
    exif = Image.Exif()
    exif[0x010E] = "\xff\xd9 a description with an end mark"
    whole = stored("JPEG", exif=exif.tobytes().replace(b"a desc", b"\xff\xd9\xff\xd9\xff\xd9"))
    assert whole.count(b"\xff\xd9") > 1 and size_of(whole) == (128, 96)
    with pytest.raises(BadImage, match="cut off"):
        size_of(whole[: len(whole) // 2])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_half_a_jpeg_with_an_end_mark(mode, share):
    whole = stored("JPEG", mode)
    with pytest.raises(BadImage, match="cut off"):
        size_of(whole[: int(len(whole) * share)])
    with pytest.raises(BadImage, match="cut off before its end mark"):
        size_of(whole[: int(len(whole) * share)] + b"\xff\xd9")


@pytest.mark.parametrize("value", [127, 128, 129])
def test_a_jpeg_that_is_grey_at_its_end_is_whole(value):
    file = BytesIO()
    Image.new("RGB", (200, 100), (value,) * 3).save(file, "JPEG")
    assert size_of(file.getvalue()) == (200, 100)


FORMS = ("BMP", "GIF", "TIFF", "PPM", "PCX", "DDS", "JPEG2000", "QOI", "SGI", "TGA", "WEBP", "ICO")


@pytest.mark.parametrize("form", ["PNG", "JPEG", *FORMS])
def test_files_that_break_off(form):
    whole = stored(form)
    assert size_of(whole)[0] in (128, 64)  # icons are squares
    with pytest.raises(BadImage):
        size_of(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    "rows",
    [
        b"no compressed data",
        zlib.compress(bytes(13 * 4)),  # four rows of twelve, which decoders may take
        zlib.compress(bytes(13 * 4 + 8)),
        zlib.compress(bytes(13 * 12))[:-6],
        zlib.compress(b"\x09" + bytes(13 * 12 - 1)),  # no filter has that number
    ],
)
def test_a_png_with_too_little_data_or_bad_ones(rows):
    assert size_of(png(4, 12, 8, 2, zlib.compress(bytes(13 * 12)))) == (4, 12)
    with pytest.raises(BadImage, match=r"damaged|rows are missing"):
        size_of(png(4, 12, 8, 2, rows))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_would_fill_the_memory():
    with pytest.raises(BadImage, match=r"13000 x 13000 pixels are more than 89,478,485; scale it down"):
        size_of(png(13_000, 13_000, 8, 0, b""))
    with pytest.raises(HoldfastError, match="scale it down"):
        open_image(png(13_000, 13_000, 8, 0, b""))


def test_no_outside_program_is_started(tmp_path, monkeypatch):
    """Ghostscript draws EPS: a stand-in for it would leave a file."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(eps)
    with pytest.raises(BadImage, match="no image"):
        size_of(eps)
    for source in (eps, tmp_path / "a.png"):
        with pytest.raises(HoldfastError, match="cannot be read"):
            open_image(source)
    assert not (tmp_path / "started").exists()


def test_pictures_are_opened_in_one_place():
    source = Path(pictures.__file__).parents[1]
    found = [file.name for file in source.rglob("*.py") if "Image.open(" in file.read_text(encoding="utf-8")]
    assert found == ["pictures.py"]


RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(np.uint16), "TIFF"),
        ((RAMP * 65535).astype(np.int32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
        ((RAMP * 255).astype(np.float32), "TIFF"),
        ((RAMP * 255).astype(np.uint8), "PNG"),
    ],
)
def test_greys_fill_the_range_from_black_to_white(values, form):
    seen = np.asarray(open_image(grey(values, form)))
    assert seen.dtype == np.uint8 and (seen.min(), seen.max()) == (0, 255)
    assert abs(seen.mean() - 127.5) < 1
    assert size_of(grey(values, form)) == (64, 64)


@pytest.mark.parametrize(
    ("values", "form", "problem"),
    [
        ((RAMP * 4095).astype(np.uint16), "PNG", "brightest 16-bit grey is 4095 of 65535, so it would be"),
        ((RAMP * 4095).astype(np.int32), "TIFF", "brightest 16-bit grey is 4095 of 65535"),
        ((RAMP * 20).astype(np.float32), "TIFF", "brightest float grey is 20 of 255"),
        ((RAMP * 1e9).astype(np.int32), "TIFF", "go from 0 to 1e.09, not from 0 to 65535; save it in 8 bits"),
        ((RAMP * 2000 - 1000).astype(np.int32), "TIFF", "go from -1000 to 1000, not from 0"),
        ((RAMP * 3000).astype(np.float32), "TIFF", "go from 0 to 3000, not from 0 to 255"),
    ],
)
def test_greys_that_would_be_black_or_white_are_refused(values, form, problem, tmp_path):
    with pytest.raises(BadImage, match=problem):
        size_of(grey(values, form))
    (tmp_path / "xray").write_bytes(grey(values, form))
    with pytest.raises(HoldfastError, match=rf"xray cannot be read: its .*{problem}"):
        open_image(tmp_path / "xray")


def test_twelve_bits_that_a_file_declares():
    """Two values in three bytes, as TIFF packs them."""
    strip = bytes([0xFF, 0xF8, 0x00]) * 8  # 4095, 2048
    tags = [(256, 3, 4), (257, 3, 4), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 3, 4), (279, 4, len(strip))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(strip))
    seen = np.asarray(open_image(head + strip + struct.pack("<H", len(tags)) + entries + bytes(4)))
    assert seen[0, :2, 0].tolist() == [255, 128]


def test_deep_colours_that_would_be_black():
    def rows(value: int) -> bytes:
        return zlib.compress(b"".join(b"\0" + struct.pack(">H", value) * 12 for _ in range(4)))

    assert open_image(png(4, 4, 16, 2, rows(65535))).getpixel((0, 0)) == (255,) * 3
    with pytest.raises(BadImage, match="brightest 16-bit colour, as 8 bits, is 15 of 255"):
        size_of(png(4, 4, 16, 2, rows(4095)))


@pytest.mark.parametrize(
    ("depth", "colour", "pixels", "clear", "seen"),
    [
        (2, 0, b"\x18", b"\0\1", [0, 255, 170, 0]),
        (4, 0, b"\x5a", b"\0\5", [255, 170]),
        (16, 0, b"\xea\x60\xea\x61", b"\xea\x60", [255, 234]),
        (16, 0, b"\xea\x60\xea\x61", b"\x00\xea", [234, 234]),
        (16, 2, b"\xea\x60\1\2\3\4" + b"\xc8\0" * 3, b"\xea\x60\1\2\3\4", [255, 200]),
    ],
)
def test_a_transparent_colour_of_other_than_eight_bits(depth, colour, pixels, clear, seen):
    image = Image.open(BytesIO(png(len(seen), 1, depth, colour, zlib.compress(b"\0" + pixels), clear)))
    for _ in range(2):
        assert np.asarray(open_image(image))[0, :, 1].tolist() == seen


def test_black_is_no_mistake():
    assert open_image(grey(np.zeros((4, 4), np.uint16), "PNG")).getpixel((0, 0)) == (0, 0, 0)


def test_objects_are_seen_as_files_are():
    turned = Image.new("RGB", (80, 40), "red")
    turned.getexif()[0x0112] = 6
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    deep = Image.fromarray((RAMP * 65535).astype(np.uint16))
    assert open_image(turned).size == (40, 80)
    assert open_image(clear).getpixel((0, 0)) == (255, 255, 255)
    assert abs(np.asarray(open_image(deep)).mean() - 127.5) < 1
    with pytest.raises(HoldfastError, match="seen as black"):
        open_image(Image.fromarray((RAMP * 4095).astype(np.uint16)))
    plain = Image.new("RGB", (8, 8))
    assert open_image(plain) is plain


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "'git lfs pull' fetches"),
        (b"\0\0\0\x18ftypheic" + bytes(400), "HEIC; save it as JPEG"),
        (b"%PDF-1.7 ", "a PDF"), (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG"),
        (b"some words", r"no image, or damaged"),
    ],
)  # fmt: skip
def test_what_lies_under_the_name_of_a_picture_is_said(data: bytes, said: str) -> None:
    with pytest.raises(BadImage, match=said):
        size_of(data)
