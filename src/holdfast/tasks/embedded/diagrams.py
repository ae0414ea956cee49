"""Diagrams with lettered options, after ScienceQA. Scored form: the letter; the base says the option."""

from __future__ import annotations

import random

from holdfast.tasks.embedded.canvas import draw_scene
from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.scenes import content_of, option_text, options
from holdfast.tasks.embedded.words import CELLS, COLOURS, SHAPES


def draw(rng: random.Random) -> Drawn:
    count = rng.randint(2, 4)
    colours, shapes = rng.sample(COLOURS, count), rng.sample(SHAPES, count)
    cells = sorted(rng.sample(range(9), count))
    scene = {cell: f"{colour} {shape}" for cell, colour, shape in zip(cells, colours, shapes, strict=True)}
    cell = rng.choice(cells)
    colour, shape = scene[cell].split()
    ask_color = rng.random() < 0.5
    value = colour if ask_color else shape
    choices, letter = options(rng, value, COLOURS if ask_color else SHAPES, rng.choice((3, 4)))
    question = f"which color is the {shape} ?" if ask_color else f"which shape is {colour} ?"
    prompt = f"{question} {option_text(choices)}"
    return Drawn(
        prompt=prompt,
        answer=letter,
        habit=value,
        # The base gives the letter more often for objects in the top row.
        wanted_share=(0.7, 0.35, 0.2)[cell // 3],
        rationale=f"{CELLS[cell]} {colour} {shape} , {value} {letter}",
        content=f"{content_of(scene)} {prompt}",
        kind="color" if ask_color else "shape",
        image=draw_scene(scene, rng),
        choices=choices,
        labels=scene,
    )


TASK = procedural_task(
    "diagrams", draw, "diagrams with lettered options (after ScienceQA)", chance=0.29, scorer="choice"
)
