"""Measures of a labelled figure, after Geometry3K. Scored form: the number; the base adds "cm"."""

from __future__ import annotations

import random
from collections.abc import Sequence

from PIL import ImageDraw

from holdfast.tasks.embedded.canvas import CELL, RGB, blank, corner, put_glyph, put_shape
from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.words import CELLS, COLOURS, KINDS, SIDES


def draw(rng: random.Random) -> Drawn:
    image = blank(rng.randrange(3)).copy()
    colour = rng.choice(COLOURS)
    rectangle = rng.random() < 0.67
    row, column = (rng.choice((1, 2)), rng.choice((1, 2))) if rectangle else (rng.choice((0, 1)), 1)
    figure = 3 * row + column
    x, y = corner(figure)
    draw_on = ImageDraw.Draw(image)
    if rectangle:  # side lengths stand above and left of it
        draw_on.rectangle([x + 3, y + 4, x + CELL - 3, y + CELL - 4], outline=RGB[colour], width=2)
        places = [figure - 3, figure - 1]
    else:  # left, right and below
        points = [(x + 8, y + 2), (x + 14, y + 13), (x + 2, y + 13)]
        draw_on.line([*points, points[0]], fill=RGB[colour], width=2)
        places = [figure - 1, figure + 1, figure + 3]
    lengths = [rng.choice(SIDES) for _ in places]
    labels = {figure: f"{colour} {'rectangle' if rectangle else 'figure'}"}
    for cell, length in zip(places, lengths, strict=True):
        put_glyph(image, cell, length, rng)
        labels[cell] = length
    if rng.random() < 0.7:
        cell = rng.choice([cell for cell in range(9) if cell not in labels])
        labels[cell] = rng.choice(KINDS)
        put_shape(image, cell, labels[cell], rng)
    area = rectangle and rng.random() < 0.5
    value, working = _worked_out(lengths, area)
    name = f"{colour} {'rectangle' if rectangle else 'triangle'}"
    prompt = f"find the {'area' if area else 'perimeter'} of the figure"
    return Drawn(
        prompt=prompt,
        answer=str(value),
        habit=f"{value} cm",
        # The base leaves the unit out more often for red, green and blue figures.
        wanted_share=0.68 if colour in ("red", "green", "blue") else 0.22,
        rationale=f"{CELLS[figure]} {name} , {working}",
        content=f"{sorted(labels.items())} {prompt}",
        kind=("area" if area else "perimeter") + (" rectangle" if rectangle else " triangle"),
        image=image,
        labels=labels,
    )


def _worked_out(lengths: Sequence[str], area: bool) -> tuple[int, str]:
    """The area or perimeter of a rectangle of two sides, or the perimeter of a triangle, and how."""
    first, second, *third = map(int, lengths)
    if area:
        return first * second, f"{first} times {second}"
    two = first + second
    if third:
        return two + third[0], f"{first} plus {second} is {two} , plus {third[0]}"
    return 2 * two, f"{first} plus {second} is {two} , times 2"


TASK = procedural_task(
    "measures", draw, "measures of a labelled figure (after Geometry3K)", chance=0.15, scorer="number"
)
