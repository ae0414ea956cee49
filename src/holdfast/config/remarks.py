"""What a person should know of an experiment's tasks before any work; nothing of it is an error."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.learning.methods import RFT
from holdfast.tasks.example import Example, ImageSource, LazyImage
from holdfast.tasks.picturefiles import look_at
from holdfast.tasks.prepared import StoredImage
from holdfast.tasks.task import Task


def remarks(experiment: Experiment) -> Iterator[str]:
    """Sentences on tasks with fewer rows than are asked for, rewards that are given away, and own rows that
    are trained on and judged."""
    rewarded = any(isinstance(method, RFT) for method in experiment.methods.values())
    for name in (*experiment.sequence, *experiment.general):
        task = experiment.task(name)
        for split in reversed(experiment.splits(name)):  # training rows first
            asked, size = experiment.asked(name, split), task.sizes.get(split)
            if asked is not None and size is not None and asked > size:
                yield f"Task {name} has {size:,} {split} rows; all are taken ({asked:,} were asked for)."
        if rewarded and name in experiment.sequence and task.scorer == "mmmu":
            yield (
                f"Task {name}: scorer mmmu takes an open answer that mentions the reference, as MMMU's own "
                "rule does, so a policy rewarded by it can learn to list many; short or exact take one."
            )
        if name in experiment.tasks and name in experiment.sequence:
            yield from _overlap(experiment, task)


def _overlap(experiment: Experiment, task: Task) -> Iterator[str]:
    judges = experiment.evaluation.split
    judged, learned = (
        [(example, _content(example)) for example in task.examples(split, experiment.count(task, split))]
        for split in experiment.splits(task.name)
    )
    seen = {content for _, content in learned}
    same = [example for example, content in judged if content in seen]
    if same:
        yield (
            f"Task {task.name}: {len(same):,} of {len(judged):,} {judges} rows are also trained on (the same "
            f"text and pictures), the first {same[0].named}; what they are judged by is partly memory."
        )
    shown = {picture for _, pictures in seen for picture in pictures}
    others = [
        example for example, content in judged if content not in seen and shown.intersection(content[1])
    ]
    if others:
        yield (
            f"Task {task.name}: {len(others):,} {'more ' if same else ''}of {len(judged):,} {judges} rows "
            f"show a picture that is trained on with other questions, the first {others[0].named}."
        )


def _content(example: Example) -> tuple[str, tuple[str, ...]]:
    """What is asked: the text and the pictures' contents."""
    try:
        return " ".join(example.prompt.split()), tuple(map(_hash, example.images))
    except (OSError, ValueError) as error:  # of a picture that code opened and nobody has decoded yet
        raise InputError(
            f"An image of {example.named} cannot be read: {error}. Replace it, or leave the row out."
        ) from None


def _hash(image: ImageSource) -> str:
    """SHA-256 of a picture's file."""
    if isinstance(image, Path):
        return look_at([image])[image].sha256  # remembered since the row was checked
    if isinstance(image, StoredImage):
        return image.sha256
    if isinstance(image, LazyImage):
        image = image.read()
    return hashlib.sha256(image if isinstance(image, bytes) else image.tobytes()).hexdigest()
