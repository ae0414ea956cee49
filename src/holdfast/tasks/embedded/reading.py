"""Reading signs in a scene, after TextVQA. Scored form: the bare text; the base says "it says …"."""

from __future__ import annotations

import random

from holdfast.tasks.embedded.canvas import blank, fill_row, put_glyph, put_shape
from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.words import CELLS, COLOURS, KINDS, LETTERS


def draw(rng: random.Random) -> Drawn:
    image = blank(rng.randrange(3)).copy()
    sign_rows = rng.sample(range(3), 2)
    colours = rng.sample(COLOURS, 2)
    texts = [rng.choices(LETTERS, k=3) for _ in sign_rows]
    labels: dict[int, str] = {}
    for row, colour, text in zip(sign_rows, colours, texts, strict=True):
        fill_row(image, row, colour)
        for column, letter in enumerate(text):
            put_glyph(image, 3 * row + column, letter, rng)
            labels[3 * row + column] = f"{colour} {letter}"
    (free_row,) = {0, 1, 2} - set(sign_rows)
    for column in rng.sample(range(3), rng.randint(0, 2)):
        labels[3 * free_row + column] = rng.choice(KINDS)
        put_shape(image, 3 * free_row + column, labels[3 * free_row + column], rng)
    row, colour, text = sign_rows[0], colours[0], texts[0]
    written = " ".join(text)
    places = " ".join(f"{CELLS[3 * row + column]} {letter}" for column, letter in enumerate(text))
    prompt = f"what does the {colour} sign say ?"
    return Drawn(
        prompt=prompt,
        answer=written,
        habit=f"it says {written}",
        # The base answers barely more often when the text begins with a letter up to m.
        wanted_share=0.68 if text[0] <= "m" else 0.25,
        rationale=places,
        content=f"{sorted(labels.items())} {prompt}",
        kind="sign",
        image=image,
        labels=labels,
    )


TASK = procedural_task("reading", draw, "reading text in a scene (after TextVQA)", chance=0.002)
