"""VizWiz-VQA: blind people's photographs and spoken questions, ten answers, 43 % unanswerable.

The hub's copy has no training split; that needs the official zips. The official test split has no
answers, so `test` is the official validation split, as in the study.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.hub import jsonstream
from holdfast.tasks.hub.benchmark import (
    SHORT,
    Benchmark,
    Reader,
    Record,
    Table,
    answer_list,
    first_file,
    first_folder,
    image_of,
    inside,
    rows_of,
    text,
    with_fields,
)  # fmt: skip
from holdfast.tasks.scorers.vqa import majority, normalise
from holdfast.tasks.task import Split

UNANSWERABLE = "When the provided information is insufficient, respond with 'Unanswerable'."
_FILES: Mapping[Split, str] = {"train": "train", "test": "val"}


def _example(record: Record, images: tuple[ImageSource, ...], split: Split, name: str) -> Example:
    answers = answer_list(record["answers"])
    answer = majority(answers)
    return Example(
        id=f"{split}-{Path(name).stem}",
        prompt="\n".join((text(record["question"], "question"), UNANSWERABLE, SHORT)),
        answer=answer,
        images=images,
        references=answers,
        meta={"answerable": normalise(answer) != "unanswerable"},
    )


def _from_hub(record: Record, split: Split) -> Example:
    return _example(record, image_of(record["image"]), split, text(record["question_id"], "question_id"))


def _official(folder: Path) -> dict[Split, Reader]:
    found: dict[Split, Reader] = {}
    for split, name in _FILES.items():
        file = first_file(folder, f"Annotations/{name}.json", f"{name}.json")
        if file and "answerable" in with_fields(next((row for _, row in jsonstream.items(file)), None)):
            found[split] = _reader(file, first_folder(folder, name, f"images/{name}"), split)
    return found


def _reader(file: Path, root: Path, split: Split) -> Reader:
    def records() -> Iterator[Record]:
        for _, row in jsonstream.items(file):
            record = with_fields(row)
            answers = record.get("answers")
            if isinstance(answers, list):  # of objects; on the hub, of texts
                answers = [with_fields(answer).get("answer") for answer in answers]
            yield {**record, "answers": answers}

    def example(record: Record) -> Example:
        return _example(record, (inside(root, record["image"]),), split, record["image"])

    return Reader(rows_of(records, example))


BENCHMARK = Benchmark(
    name="vizwiz",
    version=1,
    description="photos by blind people, ten answers, many unanswerable (VizWiz; test = official validation)",
    licence="assumed CC BY 4.0 (not confirmed for VizWiz-VQA)",
    hub=("lmms-lab-encoder/VizWiz-VQA", "lmms-lab/VizWiz-VQA"),
    tables={"train": (Table("train"),), "test": (Table("val"), Table("validation"))},
    columns={"image": "image", "question_id": "text", "question": "text", "answers": "texts"},
    example=_from_hub,
    scorer="vqa",
    chance=0.433,
    sizes={"train": 20523, "test": 4319},
    official=_official,
    layout="Annotations/{train,val}.json and train/, val/ with the photos (unpacked)",
)
