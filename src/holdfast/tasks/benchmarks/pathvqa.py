"""PathVQA: pathology images; half of the questions are yes/no, the others ask for a phrase."""

from __future__ import annotations

from holdfast.tasks.benchmarks.benchmark import Benchmark, Record
from holdfast.tasks.benchmarks.fields import SHORT, answer_texts, images_of, text
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split


def example(record: Record, split: Split) -> Example:
    return Example(
        id=f"{split}-{record['row']}",
        prompt=f"{text(record['question'], 'question')}\n{SHORT}",
        answer=answer_texts(record["answer"])[0],
        images=images_of(record["image"]),
    )


BENCHMARK = Benchmark(
    name="pathvqa",
    version=2,
    description="pathology images, yes/no and phrases (PathVQA)",
    licence="MIT; the images' copyright stays with textbook publishers and PEIR",
    hub=("flaviagiammarino/path-vqa",),
    tables={"train": ("train",), "validation": ("validation",), "test": ("test",)},
    columns=("image", "question", "answer"),
    example=example,
    scorer="pathvqa",
    sizes={"train": 19654, "validation": 6259, "test": 6719},
)
