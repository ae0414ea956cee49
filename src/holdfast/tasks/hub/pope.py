"""POPE: is an object in the image? Three ways to pick absent objects, 3000 questions each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import InputError
from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.hub import jsonstream
from holdfast.tasks.hub.benchmark import (
    SHORT,
    BadRow,
    Benchmark,
    Reader,
    Record,
    Table,
    answer_texts,
    first_file,
    first_folder,
    image_of,
    inside,
    rows_of,
    text,
    with_fields,
)  # fmt: skip
from holdfast.tasks.task import Split

CATEGORIES = ("random", "popular", "adversarial")


def _example(
    question: str, answer: object, images: tuple[ImageSource, ...], id: object, category: str
) -> Example:
    decision = answer_texts(answer)[0].lower()
    if decision not in ("yes", "no"):
        raise BadRow(f"answer {decision!r} is neither yes nor no")
    # Numbers repeat across the categories.
    return Example(
        id=f"{category}-{id}",
        prompt=f"{text(question, 'question')}\n{SHORT}",
        answer=decision,
        images=images,
        meta={"category": category},
    )


def _from_hub(record: Record, split: Split) -> Example:
    category = text(record["category"], "category").lower()
    return _example(
        record["question"], record["answer"], image_of(record["image"]), record["question_id"], category
    )


def _official(folder: Path) -> dict[Split, Reader]:
    files = {
        category: file
        for category in CATEGORIES
        if (file := first_file(folder, f"coco_pope_{category}.json", f"**/coco_pope_{category}.json"))
    }
    if not files:
        return {}
    if missing := [category for category in CATEGORIES if category not in files]:
        raise InputError(f"Task pope: {folder} has no coco_pope_{missing[0]}.json; all three are needed.")
    root = first_folder(folder, "val2014", "images/val2014", "coco/val2014")
    if not root.is_dir():
        raise InputError(f"Task pope: there is no folder {root}; put COCO's val2014 images there.")

    def records() -> Iterator[Record]:
        for category, file in files.items():
            for row in jsonstream.lines(file):
                yield with_fields(row, category=category)

    def example(record: Record) -> Example:
        image = inside(root, record["image"])
        return _example(record["text"], record["label"], (image,), record["question_id"], record["category"])

    return {"test": Reader(rows_of(records, example))}


BENCHMARK = Benchmark(
    name="pope",
    version=1,
    description="is this object in the image? yes/no (POPE)",
    licence="MIT (repository); images from COCO have licences of their own",
    hub=("lmms-lab-encoder/POPE", "lmms-lab/POPE"),
    tables={"test": (Table("test"),)},
    columns={
        "question_id": "any", "question": "text", "answer": "scalar", "image": "image", "category": "text"
    },
    example=_from_hub,
    scorer="yes_no",
    chance=0.5,
    options=True,
    sizes={"test": 9000},
    official=_official,
    layout="coco_pope_{random,popular,adversarial}.json and val2014/",
)  # fmt: skip
