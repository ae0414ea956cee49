"""Super-CLEVR, the original release (Lizw14/Super-CLEVR): rendered vehicles; values, counts, attributes.

It is no table on the hub, so it is read from the release's files. Splits go by the number of the image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.errors import InputError, reason
from holdfast.tasks.benchmarks.benchmark import BadRow, Benchmark, Record, Records
from holdfast.tasks.benchmarks.fields import SHORT, answer_texts, inside, text
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split

_IMAGES: dict[Split, range] = {
    "train": range(20_000),
    "validation": range(20_000, 25_000),
    "test": range(25_000, 30_000),
}
_FIELDS = ("image_index", "image_filename", "question", "question_index", "answer")


def example(record: Record, split: Split) -> Example | None:
    if not isinstance(record["image_index"], int):
        raise BadRow(f"image_index {record['image_index']!r} is no whole number")
    if record["image_index"] not in _IMAGES[split]:
        return None
    return Example(
        id=f"{split}-{record.get('question_index', record['row'])}",
        prompt=f"{text(record['question'], 'question')}\n{SHORT}",
        answer=answer_texts(record["answer"])[0],
        images=(inside(record["folder"], record["image_filename"]),),
    )


def official(folder: Path) -> dict[Split, Records]:
    file = folder / "superCLEVR_questions_30k.json"
    if not file.is_file():
        return {}
    if not (folder / "images").is_dir():
        raise InputError(f"Task superclevr: there is no folder {folder / 'images'}; unpack images.zip there.")
    return dict.fromkeys(_IMAGES, partial(_records, file))


def _records(file: Path) -> Iterator[Record]:
    wanted = {"questions", *_FIELDS}

    def without_programs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Only the fields that are read: with the questions' programs, memory would be ten times as much."""
        return {key: value for key, value in pairs if key in wanted}

    try:
        data = json.loads(file.read_bytes(), object_pairs_hook=without_programs)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is broken or incomplete ({reason(error)}); download it again.") from None
    if not isinstance(data, dict) or not isinstance(data.get("questions"), list):
        raise InputError(f"{file} has no list 'questions'; is it a file of another data set?")
    for row in data["questions"]:
        yield {**(row if isinstance(row, dict) else {}), "folder": file.parent / "images"}


BENCHMARK = Benchmark(
    name="superclevr",
    version=2,
    description="rendered vehicles: truth values, counts, attributes (Super-CLEVR, original release)",
    licence="MIT (card), CC BY 4.0 (in the file), BSD (code)",
    hub=("RyanWW/Super-CLEVR",),
    example=example,
    scorer="superclevr",
    chance=0.216,
    sizes={"train": 200_000, "validation": 50_000, "test": 50_000},
    official=official,
    layout="superCLEVR_questions_30k.json and images/superCLEVR_new_*.png (unpacked)",
)
