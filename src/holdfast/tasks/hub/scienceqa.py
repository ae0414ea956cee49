"""ScienceQA, the questions with an image: school science, 2 to 5 options.

Official: lupantech/ScienceQA. The prompt is lmms-eval's. The study marked the hint with `Context:`
in training rows and not in test rows; here it is marked in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from holdfast.errors import InputError
from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.hub import jsonstream
from holdfast.tasks.hub.benchmark import (
    LETTER,
    BadRow,
    Benchmark,
    Reader,
    Record,
    Table,
    first_file,
    image_of,
    inside,
    letter_at,
    lettered,
    rows_of,
    stored,
    text,
    text_list,
    with_fields,
)  # fmt: skip
from holdfast.tasks.task import Split

_SPLITS: Mapping[Split, str] = {"train": "train", "validation": "val", "test": "test"}


def _example(record: Record, images: tuple[ImageSource, ...], id: str) -> Example:
    choices = text_list(record["choices"], "choices")
    if not 2 <= len(choices) <= 26:
        raise BadRow(f"{len(choices)} choices")
    hint = record.get("hint") or ""
    parts = [f"Context: {text(hint, 'hint')}"] if hint else []
    # `lecture` and `solution` give the answer away; they stay out.
    return Example(
        id=id,
        prompt="\n".join((*parts, text(record["question"], "question"), lettered(choices), LETTER)),
        answer=letter_at(record["answer"], choices),
        images=images,
        choices=choices,
        meta={key: record[key] for key in ("subject", "topic", "grade") if record.get(key)},
    )


def _from_hub(record: Record, split: Split) -> Example | None:
    if stored(record["image"]) is None:
        return None
    return _example(record, image_of(record["image"]), f"{split}-{record['row']}")


def _official(folder: Path) -> dict[Split, Reader]:
    problems = first_file(folder, "problems.json", "data/scienceqa/problems.json", "*/problems.json")
    if problems is None:
        return {}
    data = problems.parent
    if not (data / "pid_splits.json").is_file():
        raise InputError(f"Task scienceqa: {data} has problems.json but no pid_splits.json; download it too.")
    ids = jsonstream.whole(data / "pid_splits.json")
    if odd := next((name for name in _SPLITS.values() if not isinstance(ids.get(name, []), list)), None):
        raise InputError(f"Task scienceqa: '{odd}' in {data / 'pid_splits.json'} is no list of ids.")

    def reader(split: Split, name: str) -> Reader:
        root = data / "images" / name if (data / "images" / name).is_dir() else data / name

        def records() -> Iterator[Record]:
            rows = jsonstream.whole(problems)
            for id in ids.get(name, ()):
                yield with_fields(rows.get(str(id)), id=id)

        def example(record: Record) -> Example | None:
            if record["image"] is None:
                return None
            path = inside(root, f"{record['id']}/{record['image']}")
            return _example(record, (path,), f"{split}-{record['id']}")

        return Reader(rows_of(records, example))

    return {split: reader(split, name) for split, name in _SPLITS.items() if ids.get(name)}


BENCHMARK = Benchmark(
    name="scienceqa",
    version=1,
    description="school science with an image, option letters (ScienceQA, image subset)",
    licence="CC BY-NC-SA 4.0 (official repository); the hub's card says CC BY-SA 4.0",
    hub=("derek-thomas/ScienceQA",),
    tables={split: (Table(split), Table(split, "ScienceQA-IMG")) for split in _SPLITS},
    columns={"image": "image", "question": "text", "choices": "texts", "answer": "number"},
    optional=("hint", "subject", "topic", "grade"),
    example=_from_hub,
    scorer="options",
    chance=None,
    sizes={"train": 6218, "validation": 2097, "test": 2017},
    official=_official,
    layout="problems.json, pid_splits.json and images/{train,val,test}/ID/image.png",
)
