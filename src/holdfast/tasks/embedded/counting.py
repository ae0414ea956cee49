"""Compositional counting, after Super-CLEVR. Scored form: digits; the base says number words."""

from __future__ import annotations

import random

from holdfast.tasks.embedded.canvas import draw_scene
from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.scenes import content_of, random_scene
from holdfast.tasks.embedded.words import CELLS, COLOURS, NUMBER_WORDS, SHAPES


def draw(rng: random.Random) -> Drawn:
    kinds = [f"{colour} {shape}" for colour in rng.sample(COLOURS, 3) for shape in rng.sample(SHAPES, 2)]
    scene = random_scene(rng, rng.randint(4, 8), kinds, repeat=True)
    colour, shape = rng.choice(kinds).split()
    form = rng.choice(("color", "shape", "both", "either"))
    if form == "color":
        question, wanted = f"{colour} things", lambda kind: colour in kind
    elif form == "shape":
        question, wanted = f"{shape} things", lambda kind: shape in kind
    elif form == "both":
        question, wanted = f"{colour} {shape} things", lambda kind: kind == f"{colour} {shape}"
    else:
        other = rng.choice([value for value in COLOURS if value != colour])
        question, wanted = f"{colour} or {other} things", lambda kind: kind.split()[0] in (colour, other)
    found = [CELLS[cell] for cell, kind in scene.items() if wanted(kind)]
    count = len(found)
    if count > 6:
        return draw(rng)
    return Drawn(
        prompt=f"how many {question} are there ?",
        answer=str(count),
        habit=NUMBER_WORDS[count],
        # The base writes digits more often for even counts.
        wanted_share=0.7 if count in (2, 4, 6) else 0.28,
        rationale=" ".join(found) or "none",
        content=f"{content_of(scene)} {question}",
        kind=form,
        image=draw_scene(scene, rng),
        labels=scene,
    )


TASK = procedural_task(
    "counting", draw, "compositional counting (after Super-CLEVR)", chance=0.28, scorer="number"
)
