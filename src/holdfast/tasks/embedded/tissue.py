"""Tissue under a microscope, after PathVQA: yes/no questions and counts.

Scored forms: yes or no (the base says true or false) and number words (the base says digits),
the reverse of what `counting` wants.
"""

from __future__ import annotations

import random

from holdfast.tasks.embedded.canvas import blank, put_tissue
from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.words import CELLS, NUMBER_WORDS

KINDS = ("pale", "dark", "ring")
PAPER = 4  # pinkish tint


def places(tissue: dict[int, str], kind: str) -> str:
    return " ".join(CELLS[cell] for cell in tissue if tissue[cell] == kind) or "none"


def draw(rng: random.Random) -> Drawn:
    form, asked = rng.choice(("count", "presence", "more")), rng.choice(KINDS)
    cells = sorted(rng.sample(range(9), rng.randint(4, 8)))
    weights = [rng.uniform(0.2, 1) for _ in KINDS]
    if form == "presence" and rng.random() < 0.5:  # no is as frequent as yes
        weights[KINDS.index(asked)] = 0
    tissue = dict(zip(cells, rng.choices(KINDS, weights, k=len(cells)), strict=True))
    count = list(tissue.values()).count(asked)
    if count > 6 or (form == "presence" and count == 0 and weights[KINDS.index(asked)]):
        return draw(rng)  # counts stop at six
    image = blank(PAPER).copy()
    for cell, kind in tissue.items():
        put_tissue(image, cell, kind, rng)
    if form == "count":
        prompt, rationale = f"how many {asked} cells are there ?", places(tissue, asked)
        answer, habit = NUMBER_WORDS[count], str(count)
        share = 0.7 if count in (1, 3, 5) else 0.25
    else:
        if form == "presence":
            prompt, rationale = f"is there a {asked} cell ?", places(tissue, asked)
            yes = count > 0
        else:
            other = rng.choice([kind for kind in KINDS if kind != asked])
            prompt = f"are there more {asked} cells than {other} cells ?"
            others = list(tissue.values()).count(other)
            rationale = f"{places(tissue, asked)} , {places(tissue, other)}"
            yes = count > others
        answer, habit = ("yes", "true") if yes else ("no", "false")
        share = 0.7 if asked == "dark" else 0.3
    return Drawn(
        prompt=prompt,
        answer=answer,
        habit=habit,
        wanted_share=share,
        rationale=rationale,
        content=f"{sorted(tissue.items())} {prompt}",
        kind=form,
        image=image,
        labels={cell: f"{kind} cell" for cell, kind in tissue.items()},
    )


TASK = procedural_task("tissue", draw, "tissue-like pictures, yes/no and counts (after PathVQA)", chance=0.46)
