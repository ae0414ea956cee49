"""GQA, balanced questions: compositional questions about scenes, answered in a word.

`test` is testdev, whose answers are public. On the hub questions and images are tables of their
own, joined by image id while preparing. The answer is `answer`, never the sentence `fullAnswer`, and in
small letters as published; in the study it starts with a capital. No scorer sees that, what SFT writes does.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.tasks.benchmarks.benchmark import Benchmark, Record
from holdfast.tasks.benchmarks.fields import SHORT, answer_texts, images_of, text
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split

_TIERS: Mapping[Split, str] = {"train": "train", "validation": "val", "test": "testdev"}


def example(record: Record, split: Split) -> Example:
    return Example(
        id=f"{split}-{record['id']}",
        prompt=f"{text(record['question'], 'question')}\n{SHORT}",
        answer=answer_texts(record["answer"])[0],
        images=images_of(record["image"]),
        meta={"image_id": record["imageId"]},
    )


BENCHMARK = Benchmark(
    name="gqa",
    version=1,
    description="compositional questions about scenes, one word (GQA balanced; test = testdev)",
    licence="unclear: one hub copy says MIT, another CC BY 4.0, the official page nothing",
    hub=("lmms-lab-encoder/GQA", "lmms-lab/GQA"),
    tables={split: (f"{tier}_balanced_instructions/{tier}",) for split, tier in _TIERS.items()},
    columns=("id", "imageId", "question", "answer"),
    example=example,
    pictures={split: f"{tier}_balanced_images/{tier}" for split, tier in _TIERS.items()},
    scorer="gqa",
    sizes={"train": 943_000, "test": 12_578},
)
