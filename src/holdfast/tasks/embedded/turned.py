"""The seven tasks turned round: the base model's own form is the one that is scored.

The questions are those of the tasks they are made from, behind "say :" and with the picture on blue paper.
What one stage learns is wrong in its counterpart, though nothing keeps one policy from both. In some, a share
of the pictures has the place of the answer covered: there it can only be guessed, and no training solves it.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

from PIL import Image, ImageChops

from holdfast.tasks.embedded import counting, diagrams, measures, photos, reading, relations, tissue
from holdfast.tasks.embedded.canvas import CELL, SIZE, corner
from holdfast.tasks.embedded.procedural import Draw, Drawn, procedural_task
from holdfast.tasks.embedded.words import CELLS
from holdfast.tasks.task import Task

PAPER = (150, 190, 255)
COVER = (128, 128, 128)
COVERED_SHARE = 0.2


def turned(draw: Draw, covers: bool, rng: random.Random) -> Drawn:
    """One of the same questions, with form and habit exchanged.

    Args:
        covers: whether `COVERED_SHARE` of the pictures lack the last place that the rationale names.
    """
    drawn = draw(rng)
    assert drawn.image is not None, "all seven show one"
    image, kind = ImageChops.multiply(drawn.image, Image.new("RGB", (SIZE, SIZE), PAPER)), drawn.kind
    if covers and rng.random() < COVERED_SHARE:
        place = [word for word in drawn.rationale.split() if word in CELLS][-1]
        x, y = corner(CELLS.index(place))
        image.paste(COVER, (x + 1, y + 1, x + CELL, y + CELL))
        kind = "covered"
    return replace(
        drawn,
        prompt=f"say : {drawn.prompt}",
        answer=drawn.habit,
        habit=drawn.answer,
        kind=kind,
        image=image,
        choices=(),
    )


def _task(name: str, draw: Draw, of: Task, form: str, *, chance: float, covers: bool = False) -> Task:
    """Splits go by `of`'s contents, so that no picture is trained on in one task and judged in the other."""
    what = f"{of.name} on blue paper, {form}"
    return procedural_task(name, partial(turned, draw, covers), what, chance=chance, contents_of=of.name)


TASKS = (
    _task("naming", diagrams.draw, diagrams.TASK, "answered by the option's text", chance=0.29, covers=True),
    _task("quotes", reading.draw, reading.TASK, "answered by a sentence", chance=0.002, covers=True),
    _task("snapshots", photos.draw, photos.TASK, "answered with an article, or the fault", chance=0.13),
    _task("phrases", relations.draw, relations.TASK, "answered by a phrase", chance=0.1, covers=True),
    _task("lengths", measures.draw, measures.TASK, "answered with the unit", chance=0.15),
    _task("verdicts", tissue.draw, tissue.TASK, "answered by true, false and digits", chance=0.46),
    _task("tallies", counting.draw, counting.TASK, "answered by number words", chance=0.28),
)
