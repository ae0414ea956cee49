"""GQA, balanced questions: compositional questions about scenes, answered in a word.

`test` is testdev, whose answers are public. On the hub questions and images are tables of their
own, joined by image id while preparing. The answer is `answer`, never the sentence `fullAnswer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from holdfast.errors import InputError
from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.hub import jsonstream
from holdfast.tasks.hub.benchmark import (
    SHORT,
    Benchmark,
    Keyed,
    Reader,
    Record,
    Table,
    answer_texts,
    first_file,
    first_folder,
    inside,
    rows_of,
    text,
    with_fields,
)  # fmt: skip
from holdfast.tasks.task import Split

_TIERS: Mapping[Split, str] = {"train": "train", "validation": "val", "test": "testdev"}


def _example(record: Record, image: ImageSource, split: Split, id: str) -> Example:
    return Example(
        id=f"{split}-{id}",
        prompt=f"{text(record['question'], 'question')}\n{SHORT}",
        answer=answer_texts(record["answer"])[0],
        images=(image,),
        meta={"image_id": record["imageId"]},
    )


def _from_hub(record: Record, split: Split) -> Example:
    return _example(record, Keyed(text(record["imageId"], "imageId")), split, str(record["id"]))


def _official(folder: Path) -> dict[Split, Reader]:
    found: dict[Split, Reader] = {}
    for split, tier in _TIERS.items():
        name = f"{tier}_balanced_questions.json"
        if file := first_file(folder, name, f"questions*/{name}", f"*/{name}"):
            found[split] = _reader(file, folder, split)
    return found


def _reader(file: Path, folder: Path, split: Split) -> Reader:
    root = first_folder(folder, "images", "../images")
    if not root.is_dir():
        raise InputError(f"Task gqa: there is no folder {root}; unpack images.zip in {folder}.")

    def records() -> Iterator[Record]:
        return (with_fields(row, id=id) for id, row in jsonstream.items(file))

    def example(record: Record) -> Example:
        return _example(record, inside(root, f"{record['imageId']}.jpg"), split, str(record["id"]))

    return Reader(rows_of(records, example))


BENCHMARK = Benchmark(
    name="gqa",
    version=1,
    description="compositional questions about scenes, one word (GQA balanced; test = testdev)",
    licence="unclear: one hub copy says MIT, another CC BY 4.0, the official page nothing",
    hub=("lmms-lab-encoder/GQA", "lmms-lab/GQA"),
    tables={split: (Table(tier, f"{tier}_balanced_instructions"),) for split, tier in _TIERS.items()},
    columns={"id": "text", "imageId": "text", "question": "text", "answer": "scalar"},
    example=_from_hub,
    image_tables={split: Table(tier, f"{tier}_balanced_images") for split, tier in _TIERS.items()},
    image_columns={"id": "text", "image": "image"},
    scorer="gqa",
    chance=None,
    sizes={"train": 943_000, "test": 12_578},
    official=_official,
    layout="{train,val,testdev}_balanced_questions.json and images/ID.jpg",
)
