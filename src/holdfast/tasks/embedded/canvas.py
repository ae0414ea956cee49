"""Pictures of 48 × 48 pixels: nine cells of 16 × 16 in a frame that tells them apart.

Each cell has a coloured line at its top (the colour says the row) and at its left (the column).
A vision tower with relative positions only cannot tell two equal cells apart; the frame makes
place visible. Sprites are drawn once, at eight times their size, and scaled down.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache

from PIL import Image, ImageDraw

CELL, SIZE = 16, 48
SCALE = 8  # sprites are drawn at this multiple and scaled down
RGB = {
    "red": (214, 40, 40), "green": (44, 150, 60), "blue": (40, 90, 214),
    "yellow": (240, 204, 40), "purple": (130, 50, 160), "orange": (245, 130, 30),
}  # fmt: skip
ROW_LINES = [(20, 20, 20), (0, 160, 160), (220, 60, 150)]
COLUMN_LINES = [(120, 70, 20), (90, 200, 20), (60, 60, 255)]
TINTS = [(250, 250, 250), (255, 240, 225), (228, 240, 255), (232, 250, 230), (250, 230, 245), (240, 240, 220)]

# 5 × 7 bitmaps, a row a string of five bits.
GLYPHS = {
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "h": "10000 10000 10110 11001 10001 10001 10001",
    "k": "10000 10001 10010 11100 10010 10001 10001",
    "l": "01100 00100 00100 00100 00100 00100 01110",
    "m": "00000 00000 11010 10101 10101 10101 10101",
    "r": "00000 00000 10110 11001 10000 10000 10000",
    "t": "00100 00100 11111 00100 00100 00101 00010",
    "u": "00000 00000 10001 10001 10001 10011 01101",
    "x": "00000 00000 10001 01010 00100 01010 10001",
}


@cache
def blank(tint: int = 0) -> Image.Image:
    """The empty picture with its frame; copy before drawing."""
    image = Image.new("RGB", (SIZE, SIZE), TINTS[tint])
    draw = ImageDraw.Draw(image)
    for row in range(3):
        for column in range(3):
            x, y = column * CELL, row * CELL
            draw.line([(x, y), (x + CELL - 1, y)], fill=ROW_LINES[row])
            draw.line([(x, y), (x, y + CELL - 1)], fill=COLUMN_LINES[column])
    return image


def _shrunk(mask: Image.Image) -> Image.Image:
    return mask.resize((mask.width // SCALE, mask.height // SCALE), Image.Resampling.BOX)


@cache
def shape_mask(shape: str) -> Image.Image:
    """A 12 × 12 alpha mask."""
    size = 12 * SCALE
    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    last = size - 1
    if shape == "circle":
        draw.ellipse([0, 0, last, last], fill=255)
    elif shape == "square":
        draw.rectangle([SCALE, SCALE, last - SCALE, last - SCALE], fill=255)
    elif shape == "triangle":
        draw.polygon([(size // 2, 0), (last, last), (0, last)], fill=255)
    else:  # cross
        third = size // 3
        draw.rectangle([third, 0, last - third, last], fill=255)
        draw.rectangle([0, third, last, last - third], fill=255)
    return _shrunk(mask)


@cache
def glyph_mask(character: str) -> Image.Image:
    """A 10 × 14 mask of a letter or digit."""
    rows = GLYPHS[character].split()
    mask = Image.new("L", (5, 7))
    mask.putdata([255 * int(bit) for row in rows for bit in row])
    return mask.resize((10, 14), Image.Resampling.NEAREST)


@cache
def tissue_cell(kind: str) -> Image.Image:
    """A 14 × 14 RGBA picture of a biological cell: `pale`, `dark` or `ring`."""
    size = 14 * SCALE
    sprite = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(sprite)
    outline, body, nucleus = {
        "pale": ((200, 120, 160), (244, 200, 220), 0.2),
        "dark": ((120, 40, 110), (190, 110, 170), 0.66),
        "ring": ((90, 30, 120), (250, 240, 248), 0.0),
    }[kind]
    width = 3 * SCALE if kind == "ring" else SCALE
    draw.ellipse([SCALE, SCALE, size - SCALE, size - SCALE], fill=body, outline=outline, width=width)
    if nucleus:
        radius = nucleus * size / 2
        middle = size / 2
        draw.ellipse([middle - radius, middle - radius, middle + radius, middle + radius], fill=(70, 20, 90))
    return _shrunk(sprite)


def corner(cell: int) -> tuple[int, int]:
    """Top left pixel of a cell, 0..8 in reading order."""
    return cell % 3 * CELL, cell // 3 * CELL


def put_shape(image: Image.Image, cell: int, kind: str, rng: random.Random) -> None:
    """Draw a `"red circle"` into a cell, a pixel or so off its middle."""
    colour, shape = kind.split()
    x, y = corner(cell)
    place = (x + 2 + rng.randint(0, 2), y + 2 + rng.randint(0, 2))
    image.paste(RGB[colour], place, shape_mask(shape))


def put_glyph(image: Image.Image, cell: int, character: str, rng: random.Random) -> None:
    x, y = corner(cell)
    image.paste((25, 25, 25), (x + 3 + rng.randint(0, 2), y + 1 + rng.randint(0, 1)), glyph_mask(character))


def put_tissue(image: Image.Image, cell: int, kind: str, rng: random.Random) -> None:
    x, y = corner(cell)
    sprite = tissue_cell(kind)
    image.paste(sprite, (x + 1 + rng.randint(0, 1), y + 1 + rng.randint(0, 1)), sprite)


def fill_row(image: Image.Image, row: int, colour: str) -> None:
    """Paint a row's cells in a light shade of a colour, inside the frame."""
    shade = tuple(int(255 - 0.5 * (255 - value)) for value in RGB[colour])
    draw = ImageDraw.Draw(image)
    for column in range(3):
        x, y = column * CELL, row * CELL
        draw.rectangle([x + 1, y + 1, x + CELL - 1, y + CELL - 1], fill=shade)


def draw_scene(scene: Mapping[int, str], rng: random.Random, tint: int = 0) -> Image.Image:
    """A picture of `{cell: "red circle"}`."""
    image = blank(tint).copy()
    for cell, kind in scene.items():
        put_shape(image, cell, kind, rng)
    return image
