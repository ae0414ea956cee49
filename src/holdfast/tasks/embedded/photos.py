"""Photos of one object, many of them degraded, after VizWiz. What cannot be seen is `unanswerable`."""

from __future__ import annotations

import random

from PIL import Image, ImageEnhance, ImageFilter

from holdfast.tasks.embedded.canvas import SIZE, TINTS, draw_scene
from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.words import CELLS, KINDS

FAULTS = ("dark", "blurry", "noisy")
UNANSWERABLE_SHARE = 0.4


def noise(rng: random.Random) -> Image.Image:
    return Image.frombytes("RGB", (SIZE, SIZE), rng.randbytes(3 * SIZE * SIZE))


def degrade(image: Image.Image, fault: str, rng: random.Random) -> Image.Image:
    """Make the object in a picture unrecognisable."""
    if fault == "dark":
        return Image.blend(ImageEnhance.Brightness(image).enhance(0.04), noise(rng), 0.04)
    if fault == "blurry":
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(9, 12)))
    return Image.blend(image, noise(rng), 0.9)


def draw(rng: random.Random) -> Drawn:
    cell, kind, tint = rng.randrange(9), rng.choice(KINDS), rng.randrange(len(TINTS))
    image = draw_scene({cell: kind}, rng, tint)
    prompt = "what is in this photo ?"
    content = f"{CELLS[cell]} {kind} {tint}"
    if rng.random() < UNANSWERABLE_SHARE:
        fault = rng.choice(FAULTS)
        return Drawn(
            prompt=prompt,
            answer="unanswerable",
            habit=f"too {fault}",
            wanted_share={"dark": 0.7, "blurry": 0.35, "noisy": 0.2}[fault],
            rationale=fault,
            content=f"{content} {fault}",
            kind=fault,
            image=degrade(image, fault, rng),
        )
    # Answerable photos are imperfect too: somewhat dark, or grainy.
    if rng.random() < 0.5:
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.55, 1.0))
    else:
        image = Image.blend(image, noise(rng), rng.uniform(0.0, 0.25))
    return Drawn(
        prompt=prompt,
        answer=kind,
        habit=f"a {kind}",
        wanted_share=0.65 if kind.split()[0] in ("red", "yellow", "orange") else 0.25,
        rationale=f"clear , {CELLS[cell]} {kind}",
        content=f"{content} clear",
        kind="clear",
        image=image,
        labels={cell: kind},
    )


TASK = procedural_task(
    "photos", draw, "degraded photos with an unanswerable class (after VizWiz)", chance=UNANSWERABLE_SHARE
)
