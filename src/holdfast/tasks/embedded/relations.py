"""Relations and attributes in a scene, after GQA. Scored form: one word; the base says a phrase."""

from __future__ import annotations

import random

from holdfast.tasks.embedded.canvas import draw_scene
from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.scenes import content_of, random_scene
from holdfast.tasks.embedded.words import CELLS

STEPS = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}


def draw(rng: random.Random) -> Drawn:
    scene = random_scene(rng, rng.randint(4, 6))
    pairs = [
        (cell, relation, 3 * row + column)
        for cell in scene
        for relation, (down, across) in STEPS.items()
        if 0 <= (row := cell // 3 + down) < 3
        and 0 <= (column := cell % 3 + across) < 3
        and 3 * row + column in scene
    ]
    if not pairs:  # no two neighbours: very rare with four objects
        return draw(rng)
    cell, relation, found = rng.choice(pairs)  # `found` lies left of (right of, …) `cell`
    colour, shape = scene[found].split()
    asked = rng.choice(("color", "shape"))
    prompt = f"what {asked} is {relation} the {scene[cell]} ?"
    return Drawn(
        prompt=prompt,
        answer=colour if asked == "color" else shape,
        habit=f"it is {colour}" if asked == "color" else f"the {colour} {shape}",
        # The base says the single word more often for things in the middle column.
        wanted_share=(0.3, 0.7, 0.25)[found % 3],
        rationale=f"{CELLS[cell]} {scene[cell]} , {relation} is {CELLS[found]} {scene[found]}",
        content=f"{content_of(scene)} {prompt}",
        kind=relation.split()[0],
        image=draw_scene(scene, rng),
        labels=scene,
    )


TASK = procedural_task("relations", draw, "relations and attributes in a scene (after GQA)", chance=0.21)
