"""POPE: is an object in the image? Three ways to pick absent objects, 3000 questions each."""

from __future__ import annotations

from holdfast.tasks.benchmarks.benchmark import BadRow, Benchmark, Record
from holdfast.tasks.benchmarks.fields import SHORT, answer_texts, images_of, text
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split


def example(record: Record, split: Split) -> Example:
    category = text(record["category"], "category").lower()
    decision = answer_texts(record["answer"])[0].lower()
    if decision not in ("yes", "no"):
        raise BadRow(f"answer {decision!r} is neither yes nor no")
    return Example(
        id=f"{category}-{record['question_id']}",  # numbers repeat across the categories
        prompt=f"{text(record['question'], 'question')}\n{SHORT}",
        answer=decision,
        images=images_of(record["image"]),
        meta={"category": category},
    )


BENCHMARK = Benchmark(
    name="pope",
    version=2,
    description="is this object in the image? yes/no (POPE)",
    licence="MIT (repository); images from COCO have licences of their own",
    hub=("lmms-lab-encoder/POPE", "lmms-lab/POPE"),
    tables={"test": ("test",)},
    columns=("question_id", "question", "answer", "image", "category"),
    example=example,
    scorer="yes_no",
    chance=0.5,
    options=True,
    sizes={"test": 9000},
)
