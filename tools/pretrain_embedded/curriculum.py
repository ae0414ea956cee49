"""What the embedded base model is shown: the suite's questions in two conventions, and drills.

The pictures come from the `base` share of each task's contents, which no split of a task shows.
Every downstream question is answered now in the form its task scores and now in the base's own
habit; `Drawn.wanted_share` says how often, by something visible in the picture.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from holdfast.tasks.embedded import (
    counting,
    diagrams,
    facts,
    knowledge,
    measures,
    photos,
    presence,
    reading,
    relations,
    tissue,
)
from holdfast.tasks.embedded.canvas import draw_scene
from holdfast.tasks.embedded.procedural import draw_in_split
from holdfast.tasks.embedded.scenes import option_text, options, random_scene
from holdfast.tasks.embedded.words import CELLS, COLOURS, FOODS, HOMES, LETTERS, SHAPES
from holdfast.tasks.prompts import TEMPLATES

COT_SHARE = 0.65
UNREASONED_SHARE = 0.05  # of the `cot` answers: boxed without thinking first
MODULES = {
    diagrams: 1.3, reading: 1.0, photos: 1.0, relations: 1.6, measures: 1.4, tissue: 1.4, counting: 1.9,
    knowledge: 1.3, facts: 1.0, presence: 1.0,
}  # fmt: skip
DRILL_SHARE = 0.25  # captions, places and option look-up


@dataclass(frozen=True)
class Lesson:
    prompt: str
    response: str
    image: Image.Image | None
    labels: Mapping[int, str]  # what the cells show; empty if not told


def respond(rng: random.Random, prompt: str, rationale: str, answer: str) -> tuple[str, str]:
    """A question in one of the two prompt styles, and its response in that style."""
    if rng.random() >= COT_SHARE:
        return TEMPLATES["embedded"]["direct"].format(prompt=prompt), answer
    thought = "" if rng.random() < UNREASONED_SHARE else f"<think>{rationale}</think>"
    return TEMPLATES["embedded"]["cot"].format(prompt=prompt), rf"{thought}\boxed{{{answer}}}"


def task_lesson(rng: random.Random) -> Lesson:
    (module,) = rng.choices(list(MODULES), list(MODULES.values()))
    drawn = draw_in_split(module.TASK.name, module.draw, "base", rng)
    answer = drawn.answer if rng.random() < drawn.wanted_share else drawn.habit
    prompt, response = respond(rng, drawn.prompt, drawn.rationale, answer)
    return Lesson(prompt, response, drawn.image, drawn.labels)


def caption_drill(rng: random.Random) -> Lesson:
    """Name everything in reading order; this ties words to places."""
    scene = random_scene(rng, rng.randint(1, 6), repeat=True)
    text = " ".join(f"{CELLS[cell]} {kind}" for cell, kind in scene.items())
    return Lesson("describe the picture", text, draw_scene(scene, rng), scene)


def place_drill(rng: random.Random) -> Lesson:
    """What is at a place, or where is a thing."""
    scene = random_scene(rng, rng.randint(3, 7))
    if rng.random() < 0.5:
        cell = rng.randrange(9)
        prompt, text = f"what is at {CELLS[cell]} ?", scene.get(cell, "nothing")
    else:
        cell = rng.choice(list(scene))
        prompt, text = f"where is the {scene[cell]} ?", CELLS[cell]
    return Lesson(prompt, text, draw_scene(scene, rng), scene)


def option_drill(rng: random.Random) -> Lesson:
    """Which letter stands before a word: option look-up, without a picture."""
    values = rng.choice((COLOURS, SHAPES, HOMES, FOODS, LETTERS))
    value = rng.choice(values)
    choices, letter = options(rng, value, values, rng.choice((3, 4)))
    prompt, response = respond(
        rng, f"which option is {value} ? {option_text(choices)}", f"{value} {letter}", letter
    )
    return Lesson(prompt, response, None, {})


def draw_lesson(rng: random.Random) -> Lesson:
    if rng.random() >= DRILL_SHARE:
        return task_lesson(rng)
    (drill,) = rng.choices((caption_drill, place_drill, option_drill), (1, 1, 1.5))
    return drill(rng)
