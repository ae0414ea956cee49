"""Geometry3K: a diagram and a short request; the answer is a number, often with roots or fractions.

The free form that RL work uses (`hiyouga/geometry3k`). The official folder has the same rows with
four choices, from which the reference is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import InputError
from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.hub import jsonstream
from holdfast.tasks.hub.benchmark import (
    BadRow,
    Benchmark,
    Reader,
    Record,
    Table,
    answer_texts,
    rows_of,
    stored,
    text,
    text_list,
    with_fields,
    without_markers,
)  # fmt: skip
from holdfast.tasks.task import Split

_SPLITS: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}


def _example(prompt: str, images: tuple[ImageSource, ...], answer: str, id: str) -> Example:
    return Example(id=id, prompt=without_markers(prompt, len(images)), answer=answer, images=images)


def _from_hub(record: Record, split: Split) -> Example:
    images = tuple(data for value in record["images"] or () if (data := stored(value)))
    if not images:
        raise BadRow("no image")
    answer = answer_texts(record["answer"])[0]
    return _example(text(record["problem"], "problem"), images, answer, f"{split}-{record['row']}")


def _official(folder: Path) -> dict[Split, Reader]:
    found: dict[Split, Reader] = {}
    for split, name in _SPLITS.items():
        for root in (folder / name, folder / "geometry3k" / name, folder / "data" / "geometry3k" / name):
            if next(root.glob("*/data.json"), None):
                found[split] = _reader(root, split)
                break
    return found


def _reader(root: Path, split: Split) -> Reader:
    def records() -> Iterator[Record]:
        folders = [path for path in root.iterdir() if (path / "data.json").is_file()]
        for path in sorted(folders, key=lambda path: (len(path.name), path.name)):
            try:
                yield with_fields(jsonstream.whole(path / "data.json"), folder=path)
            except InputError:  # a row that lacks all fields
                yield {"folder": path}

    def example(record: Record) -> Example:
        folder: Path = record["folder"]
        choices = text_list(record["choices"], "choices")
        if record["answer"] not in list("ABCD"[: len(choices)]):
            raise BadRow(f"answer {record['answer']!r} is none of {len(choices)} choices")
        answer = text(choices["ABCD".index(record["answer"])], "the choice that is the answer")
        prompt, image = text(record["problem_text"], "problem_text"), folder / "img_diagram.png"
        return _example(prompt, (image,), answer, f"{split}-{folder.name}")

    return Reader(rows_of(records, example))


BENCHMARK = Benchmark(
    name="geometry3k",
    version=1,
    description="geometry diagrams, free-form values (Geometry3K)",
    licence="MIT",
    hub=("hiyouga/geometry3k",),
    tables={split: (Table(split),) for split in _SPLITS},
    columns={"images": "images", "problem": "text", "answer": "scalar"},
    example=_from_hub,
    scorer="geometry",
    chance=0.0,
    sizes={"train": 2101, "validation": 300, "test": 601},
    official=_official,
    layout="{train,val,test}/ID/data.json and img_diagram.png beside it (unpacked)",
)
