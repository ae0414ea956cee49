"""Reliance on the picture: what a policy still answers right when it is not shown the picture.

An answer that is kept while the picture is no longer used for it is hidden forgetting: accuracy does not
tell. (After reliance vectors over channels of evidence, arXiv 2607.02020; here one channel's plain question.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from holdfast.measures import Measure, Moment, Request

if TYPE_CHECKING:
    from holdfast.experiment.jobs import Runner
    from holdfast.experiment.plan import Job
    from holdfast.tasks.example import Example, ImageSource

GREY = (128, 128, 128)


class Reliance(Measure):
    version: ClassVar[int] = 3  # up to 2, `exchanged` left an item its own picture where others show the same
    unit_seconds: ClassVar[float] = 0.002

    examples: int = Field(100, ge=1)  # of each task so far, the first of those that judge
    pictures: Literal["blank", "exchanged"] = "blank"  # grey ones, or those of other items

    def determining(self) -> dict[str, Any]:
        return {"pictures": self.pictures}

    def request(self, moment: Moment) -> Request | None:
        return moment.judging((*moment.earlier, *moment.new), self.examples)

    def measure(self, job: Job, runner: Runner) -> dict[str, Any]:
        """The scores of each task's items without their pictures, in order; of texts alone nothing."""
        from holdfast.generate.evaluate import evaluate
        from holdfast.generate.local import LocalGenerator

        rows = []
        for task, items in runner.asked(job).items():
            examples = [example for _, example in items]
            if not any(example.images for example in examples):
                continue
            records = evaluate(
                LocalGenerator(runner.policy_of(job)),
                runner.task(task),
                without_pictures(examples, self.pictures),
                runner.asking(job, task),
            )
            rows.append({"task": task, "scores": [record["score"] for record in records]})
        return {"rows": rows}


def without_pictures(examples: Sequence[Example], pictures: Literal["blank", "exchanged"]) -> list[Example]:
    """The examples with grey pictures of the same sizes, or with those of another item: the first, from half
    the list away on, that has as many and none of the same.

    An item that has no others to take from gets grey ones.
    """
    from PIL import Image

    from holdfast.tasks.example import named, open_image

    sizes, seen = [], []
    for example in examples:
        with named(example):
            shown = [open_image(image) for image in example.images]
        sizes.append([image.size for image in shown])
        if pictures == "exchanged":
            seen.append([sha256(repr(image.size).encode() + image.tobytes()).digest() for image in shown])
    changed = []
    for place, example in enumerate(examples):
        others = _others(examples, seen, place) if pictures == "exchanged" else None
        grey = (Image.new("RGB", size, GREY) for size in sizes[place])
        changed.append(replace(example, images=tuple(grey) if others is None else others))
    return changed


def _others(
    examples: Sequence[Example], seen: Sequence[Sequence[bytes]], place: int
) -> tuple[ImageSource, ...] | None:
    """The pictures that an item gets in place of its own; `seen` tells which are the same."""
    start = place + len(seen) // 2
    for other in (number % len(seen) for number in range(start, start + len(seen))):
        if len(seen[other]) == len(seen[place]) and set(seen[other]).isdisjoint(seen[place]):
            return examples[other].images
    return None
