"""TextVQA: questions about text in photographs, ten answers each.

The prompt is the study's (LLaVA's): OCR tokens, where the release has them, stand in it. The
official test split has no answers, so `test` is the official validation split, as in the study.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from holdfast.errors import InputError
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
    text_list,
    with_fields,
)  # fmt: skip
from holdfast.tasks.scorers.vqa import majority
from holdfast.tasks.task import Split

_FILES: Mapping[Split, str] = {"train": "train", "test": "val"}


def _example(record: Record, images: tuple[ImageSource, ...], split: Split, ocr: Any) -> Example:
    answers = answer_list(record["answers"])
    tokens = [f"Reference OCR token: {', '.join(text_list(ocr, 'ocr_tokens'))}"] if ocr else []
    return Example(
        id=f"{split}-{record['question_id']}",
        prompt="\n".join((text(record["question"], "question"), *tokens, SHORT)),
        answer=majority(answers),
        images=images,
        references=answers,
        meta={"image_id": record["image_id"]},
    )


def _from_hub(record: Record, split: Split) -> Example:
    return _example(record, image_of(record["image"]), split, record.get("ocr_tokens") or [])


def _official(folder: Path) -> dict[Split, Reader]:
    found: dict[Split, Reader] = {}
    for split, name in _FILES.items():
        if file := first_file(folder, f"TextVQA_0.5.1_{name}.json", f"*/TextVQA_0.5.1_{name}.json"):
            found[split] = _reader(file, split, name)
    return found


def _reader(file: Path, split: Split, name: str) -> Reader:
    root = first_folder(file.parent, "train_images", "train_val_images/train_images")
    if not root.is_dir():
        raise InputError(
            f"Task textvqa: there is no folder {root}; unpack train_val_images.zip in {file.parent} "
            "(it holds the validation images too)."
        )
    ocr_file = first_file(file.parent, f"TextVQA_Rosetta_OCR_v0.2_{name}.json")

    def records() -> Iterator[Record]:
        tokens: dict[str, Any] = {}
        if ocr_file:
            for _, row in jsonstream.items(ocr_file, "data"):
                record = with_fields(row)
                tokens[str(record.get("image_id"))] = record.get("ocr_tokens") or []
        for _, row in jsonstream.items(file, "data"):
            record = with_fields(row)
            yield {**record, "ocr_tokens": tokens.get(str(record.get("image_id")), [])}

    def example(record: Record) -> Example:
        image = inside(root, f"{record['image_id']}.jpg")
        return _example(record, (image,), split, record["ocr_tokens"])

    return Reader(rows_of(records, example))


BENCHMARK = Benchmark(
    name="textvqa",
    version=1,
    description="text in photographs, ten answers (TextVQA; test = official validation)",
    licence="CC BY 4.0 (annotations); images from OpenImages/Flickr have licences of their own",
    hub=("lmms-lab-encoder/textvqa", "lmms-lab/textvqa"),
    tables={"train": (Table("train"),), "test": (Table("validation"), Table("val"))},
    columns={
        "image": "image", "image_id": "text", "question_id": "any", "question": "text", "answers": "texts"
    },
    optional=("ocr_tokens",),
    example=_from_hub,
    scorer="vqa",
    chance=None,
    sizes={"train": 34602, "test": 5000},
    official=_official,
    layout="TextVQA_0.5.1_{train,val}.json, train_images/ID.jpg (and TextVQA_Rosetta_OCR_v0.2_*.json)",
)  # fmt: skip
