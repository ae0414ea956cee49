"""A contact sheet: examples of a task on one picture, each with its prompt and answer."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from holdfast import files
from holdfast.errors import HoldfastError
from holdfast.tasks.example import Example, named, open_image
from holdfast.tasks.task import Split, Task

COLUMNS = 4
CARD, GAP, PADDING = 288, 20, 16  # pixels
PICTURE = CARD - 2 * PADDING  # a picture's longer side
LINE, MOST_LINES = 19, 10  # pixels; of a text
INK, MUTED, ACCENT = "#1c2128", "#68707a", "#0b6e75"
PAPER, CARD_COLOUR, BORDER = "#f3f4f2", "#ffffff", "#d5d9de"


def write_sheet(task: Task, path: Path, split: Split, count: int) -> None:
    """Draw the first `count` examples of a split as PNG.

    Raises:
        InputError: the split is unknown, empty or smaller than `count`.
        HoldfastError: a picture cannot be read.
    """
    cards = [_card(example) for example in task.examples(split, count)]
    columns = min(COLUMNS, len(cards))
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(card.height for card in row) + 2 * PADDING for row in rows]
    title = 64
    width = max(columns * (CARD + GAP) + GAP, 2 * CARD)
    sheet = Image.new("RGB", (width, title + sum(heights) + GAP * len(rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 14), task.name, INK, font(22, bold=True))
    draw.text((GAP, 41), f"{split} · {task.description}", MUTED, font(13))
    top = title
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            left = GAP + column * (CARD + GAP)
            box = (left, top, left + CARD - 1, top + height - 1)
            draw.rounded_rectangle(box, 10, CARD_COLOUR, BORDER)
            sheet.paste(card, (left + PADDING, top + PADDING))
        top += height + GAP
    out = io.BytesIO()
    sheet.save(out, format="PNG")
    files.write_bytes(path, out.getvalue())


def _card(example: Example) -> Image.Image:
    """Pictures on top of the text, without padding around them."""
    pictures = [scaled(picture) for picture in _pictures(example)]
    blocks = [(wrapped(example.prompt), INK, False), (wrapped(f"→ {example.answer}"), ACCENT, True)]
    if not all(choice in example.prompt for choice in example.choices):
        shown = "   ".join(f"{chr(65 + index)} {choice}" for index, choice in enumerate(example.choices))
        blocks.insert(1, (wrapped(shown), MUTED, False))
    blocks.append((wrapped(example.id), MUTED, False))
    lines = sum(len(text) for text, _, _ in blocks)
    above = sum(picture.height + 8 for picture in pictures)
    card = Image.new("RGB", (PICTURE, above + lines * LINE + 4 * len(blocks)), CARD_COLOUR)
    draw = ImageDraw.Draw(card)
    top = 0
    for picture in pictures:
        left = (PICTURE - picture.width) // 2
        card.paste(picture, (left, top))
        draw.rectangle((left, top, left + picture.width - 1, top + picture.height - 1), outline=BORDER)
        top += picture.height + 8
    for text, colour, bold in blocks:
        for line in text:
            draw.text((0, top), line, colour, font(13, bold))
            top += LINE
        top += 4
    return card


def _pictures(example: Example) -> Iterator[Image.Image]:
    for source in example.images:
        with named(example):
            picture = open_image(source)
            if 0 in picture.size:
                raise HoldfastError("An image has no pixels.")
        yield picture


def scaled(picture: Image.Image) -> Image.Image:
    """The picture with its longer side at most `PICTURE`; a tiny one grows by whole pixels."""
    longer = max(picture.size)
    if longer * 2 <= PICTURE:
        factor = PICTURE // longer
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    if longer <= PICTURE:
        return picture
    size = (max(1, picture.width * PICTURE // longer), max(1, picture.height * PICTURE // longer))
    return picture.resize(size, Image.Resampling.LANCZOS)


def wrapped(text: str) -> list[str]:
    """Lines that fit a card; what goes beyond `MOST_LINES` is cut, with an ellipsis."""
    across = math.floor(PICTURE / 7.3)  # the font's mean width, on the safe side
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, across) or [""]] or [""]
    *kept, last = lines[:MOST_LINES]
    return lines if len(lines) <= MOST_LINES else [*kept, last[: across - 2] + " …"]


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which comes with matplotlib and covers most scripts; else Pillow's own font."""
    spec = find_spec("matplotlib")
    if spec and spec.origin:
        name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
        path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)
