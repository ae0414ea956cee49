"""Geometry3K: a diagram and a short request; the answer is a number, often with roots or fractions.

The free form that RL work uses (`hiyouga/geometry3k`), not the official release's four choices.
"""

from __future__ import annotations

from holdfast.tasks.benchmarks.benchmark import Benchmark, Record
from holdfast.tasks.benchmarks.fields import answer_texts, images_of, text, without_markers
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split


def example(record: Record, split: Split) -> Example:
    images = images_of(*(record["images"] or ()))
    return Example(
        id=f"{split}-{record['row']}",
        prompt=without_markers(text(record["problem"], "problem"), len(images)),
        answer=answer_texts(record["answer"])[0],
        images=images,
    )


BENCHMARK = Benchmark(
    name="geometry3k",
    version=1,
    description="geometry diagrams, free-form values (Geometry3K)",
    licence="MIT",
    hub=("hiyouga/geometry3k",),
    tables={"train": ("train",), "validation": ("validation",), "test": ("test",)},
    columns=("images", "problem", "answer"),
    example=example,
    scorer="geometry",
    chance=0.0,
    sizes={"train": 2101, "validation": 300, "test": 601},
)
