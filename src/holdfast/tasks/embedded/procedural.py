"""From a drawing function to a Task: unlimited, deterministic, splits disjoint by content."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from PIL import Image

from holdfast.rng import seed, stream
from holdfast.tasks.example import Example
from holdfast.tasks.scorers import OPTION_SCORERS
from holdfast.tasks.task import SPLITS, Split, Task

# A picture's content (objects, places, question) belongs to one split, by its hash. The `base`
# share is what the embedded model was pre-trained on; no task ever shows it.
SHARES = {"test": 20, "validation": 10, "train": 35, "base": 35}


@dataclass(frozen=True)
class Drawn:
    """One drawn example.

    Attributes:
        answer: in the form the task scores.
        habit: the same answer in the base model's own form; equal to `answer` where they agree.
        wanted_share: how often the base model was shown `answer` rather than `habit`, 0..1.
        content: says what is shown and asked, without pixel jitter; decides the split.
        labels: what each of the nine cells shows, for the vision warm-up; empty if not told.
    """

    prompt: str
    answer: str
    rationale: str
    content: str
    kind: str
    habit: str = ""
    wanted_share: float = 1.0
    image: Image.Image | None = None
    choices: tuple[str, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)


Draw = Callable[[random.Random], Drawn]


def split_of(name: str, drawn: Drawn) -> str:
    place = seed("split", name, drawn.content) % 100
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("the shares add up to 100")


def draw_in_split(name: str, draw: Draw, split: str, rng: random.Random) -> Drawn:
    """Draw until the content falls into `split`."""
    while True:
        drawn = draw(rng)
        if split_of(name, drawn) == split:
            return drawn


def _load(name: str, contents_of: str, draw: Draw, split: Split, count: int | None) -> list[Example]:
    assert count is not None  # Task.examples refuses None for a task without an end
    examples = []
    for index in range(count):
        drawn = draw_in_split(contents_of, draw, split, stream(name, split, index))
        examples.append(
            Example(
                id=f"{name}/{split}/{index:06d}",
                prompt=drawn.prompt,
                answer=drawn.answer,
                images=() if drawn.image is None else (drawn.image,),
                choices=drawn.choices,
                aliases=(drawn.habit,) if drawn.habit and drawn.habit != drawn.answer else (),
                rationale=drawn.rationale,
                meta={"kind": drawn.kind},
            )
        )
    return examples


def procedural_task(
    name: str,
    draw: Draw,
    description: str,
    *,
    chance: float,
    options: bool = False,
    scorer: str = "exact",
    contents_of: str | None = None,
) -> Task:
    """A Task that draws its examples.

    Args:
        options: every answer is one of several options, though the scorer does not say so.
        contents_of: the task whose contents it shows, and whose splits it therefore keeps; None: its own.
    """
    return Task(
        name=name,
        version=1,
        description=description,
        load=partial(_load, name, contents_of or name, draw),
        sizes=dict.fromkeys(SPLITS),
        scorer=scorer,
        chance=chance,
        options=options or scorer in OPTION_SCORERS,
    )
