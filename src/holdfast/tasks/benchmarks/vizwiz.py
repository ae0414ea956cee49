"""VizWiz-VQA: blind people's photographs and spoken questions, ten answers, 43 % unanswerable.

The hub's copy has no training split; that needs the official zips. The official test split has no
answers, so `test` is the official validation split, as in the study.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from holdfast.tasks.benchmarks.benchmark import Benchmark, Record, Records, json_rows
from holdfast.tasks.benchmarks.fields import SHORT, answer_list, images_of, inside, text
from holdfast.tasks.example import Example
from holdfast.tasks.scorers.vqa import majority, normalise
from holdfast.tasks.task import Split

HINT = "When the provided information is insufficient, respond with 'Unanswerable'."
# Annotators' words for a photo that shows nothing; the study's references say `unanswerable` there.
_UNSUITABLE = ("unsuitable", "unsuitable image")
_FILES: Mapping[Split, str] = {"train": "train", "test": "val"}


def example(record: Record, split: Split) -> Example:
    answers = answer_list(record["answers"])
    answer = majority(["unanswerable" if normalise(said) in _UNSUITABLE else said for said in answers])
    folder = record.get("folder")  # of an official release
    images = (inside(folder, record["image"]),) if folder else images_of(record["image"])
    answerable = record.get("answerable")  # the official release says it, the hub's copy does not
    return Example(
        id=f"{split}-{Path(text(record['question_id'], 'question_id')).stem}",
        prompt="\n".join((text(record["question"], "question"), HINT, SHORT)),
        answer=answer,
        images=images,
        references=answers,
        meta={"answerable": normalise(answer) != "unanswerable" if answerable is None else bool(answerable)},
    )


def official(folder: Path) -> dict[Split, Records]:
    found: dict[Split, Records] = {}
    for split, name in _FILES.items():
        places = (folder / "Annotations" / f"{name}.json", folder / f"{name}.json")
        if file := next((path for path in places if path.is_file()), None):
            photos = folder / name if (folder / name).is_dir() else folder / "images" / name
            found[split] = partial(_records, file, photos)
    return found


def _records(file: Path, photos: Path) -> Iterator[Record]:
    for row in json_rows(file):
        answers = row.get("answers")
        if isinstance(answers, list):  # of objects; on the hub, of texts
            answers = [answer.get("answer") if isinstance(answer, dict) else None for answer in answers]
        yield {**row, "folder": photos, "question_id": row.get("image"), "answers": answers}


BENCHMARK = Benchmark(
    name="vizwiz",
    version=3,
    description="photos by blind people, ten answers, many unanswerable (VizWiz; test = official validation)",
    licence="assumed CC BY 4.0 (not confirmed for VizWiz-VQA)",
    hub=("lmms-lab-encoder/VizWiz-VQA", "lmms-lab/VizWiz-VQA"),
    tables={"train": ("train",), "test": ("val", "validation")},
    columns=("image", "question_id", "question", "answers"),
    optional=("answerable",),
    example=example,
    scorer="vqa",
    chance=0.433,
    sizes={"train": 20523, "test": 4319},
    official=official,
    layout="Annotations/{train,val}.json and train/, val/ with the photos (unpacked)",
)
