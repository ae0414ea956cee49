"""Is this object in the picture? After POPE: half yes, half no, some of the no adversarial.

An adversarial negative asks for a colour and a shape that are both there, on different objects.
"""

from __future__ import annotations

import random

from holdfast.tasks.embedded.canvas import draw_scene
from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.scenes import content_of, random_scene
from holdfast.tasks.embedded.words import CELLS, KINDS


def draw(rng: random.Random) -> Drawn:
    scene = random_scene(rng, rng.randint(3, 6))
    present = rng.random() < 0.5
    if present:
        category, cell = "present", rng.choice(list(scene))
        asked, rationale = scene[cell], f"{CELLS[cell]} {scene[cell]}"
    else:
        category = rng.choice(("random", "adversarial"))
        colours = {kind.split()[0] for kind in scene.values()}
        shapes = {kind.split()[1] for kind in scene.values()}
        absent = [kind for kind in KINDS if kind not in scene.values()]
        if category == "adversarial":
            absent = [kind for kind in absent if kind.split()[0] in colours and kind.split()[1] in shapes]
        if not absent:
            return draw(rng)
        asked, rationale = rng.choice(absent), "none"
    prompt = f"is there a {asked} in the picture ?"
    return Drawn(
        prompt=prompt,
        answer="yes" if present else "no",
        rationale=rationale,
        content=f"{content_of(scene)} {prompt}",
        kind=category,
        image=draw_scene(scene, rng),
        labels=scene,
    )


TASK = procedural_task("presence", draw, "object presence, yes or no (after POPE)", chance=0.5, options=True)
