"""Questions that need the picture and a fact, after MMMU. One form: the option's letter."""

from __future__ import annotations

import random

from holdfast.tasks.embedded.canvas import draw_scene
from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.scenes import content_of, option_text, options, random_scene
from holdfast.tasks.embedded.words import CELLS, FOOD, FOODS, HOME, HOMES


def draw(rng: random.Random) -> Drawn:
    scene = random_scene(rng, rng.randint(2, 4))
    cell = rng.choice(list(scene))
    verb, facts, values = rng.choice((("live", HOME, HOMES), ("eat", FOOD, FOODS)))
    value = facts[scene[cell]]
    choices, letter = options(rng, value, values, 4)
    question = f"{'where' if verb == 'live' else 'what'} does the thing at {CELLS[cell]} {verb} ?"
    prompt = f"{question} {option_text(choices)}"
    return Drawn(
        prompt=prompt,
        answer=letter,
        rationale=f"{CELLS[cell]} {scene[cell]} , {value} {letter}",
        content=f"{content_of(scene)} {prompt}",
        kind=verb,
        image=draw_scene(scene, rng),
        choices=choices,
        labels=scene,
    )


TASK = procedural_task(
    "knowledge", draw, "picture-and-knowledge questions (after MMMU)", chance=0.25, scorer="choice"
)
