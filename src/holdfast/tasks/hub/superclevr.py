"""Super-CLEVR: rendered vehicles; truth values, counts and attributes. Two tasks.

`superclevr` is the original release (Lizw14/Super-CLEVR), whose answers are JSON values.
`superclevr_mathv360k` is the conversion in MathV360K that the study used: free text, noisy, with
no split of its own. The study took 642 of 8642 rows for test; which ones is unknown. Here about as
many are drawn, by image, so that no image is in both splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import InputError
from holdfast.tasks.example import Example
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
    without_markers,
)  # fmt: skip
from holdfast.tasks.task import Split

_FIRST_IMAGE: dict[Split, range] = {
    "train": range(20_000),
    "validation": range(20_000, 25_000),
    "test": range(25_000, 30_000),
}
_TEST_SHARE = 642 / 8642


def _official(folder: Path) -> dict[Split, Reader]:
    file = first_file(folder, "superCLEVR_questions_30k.json", "superCLEVR_questions_*.json")
    if file is None:
        return {}
    root = first_folder(folder, "images")
    if not root.is_dir():
        raise InputError(f"Task superclevr: there is no folder {root}; unpack images.zip in {folder}.")
    return {split: _reader(file, root, split, images) for split, images in _FIRST_IMAGE.items()}


def _reader(file: Path, root: Path, split: Split, images: range) -> Reader:
    def records() -> Iterator[Record]:
        return (with_fields(row, row=position) for position, row in jsonstream.items(file, "questions"))

    def example(record: Record) -> Example | None:
        if not isinstance(record["image_index"], int):
            raise BadRow(f"image_index {record['image_index']!r} is no whole number")
        if record["image_index"] not in images:
            return None
        return Example(
            id=f"{split}-{record.get('question_index', record['row'])}",
            prompt=f"{text(record['question'], 'question')}\n{SHORT}",
            answer=answer_texts(record["answer"])[0],
            images=(inside(root, record["image_filename"]),),
        )

    return Reader(rows_of(records, example))


def _no_table(record: Record, split: Split) -> None:
    raise BadRow("not a table")


BENCHMARK = Benchmark(
    name="superclevr",
    version=1,
    description="rendered vehicles: truth values, counts, attributes (Super-CLEVR, original release)",
    licence="MIT (card), CC BY 4.0 (in the file), BSD (code)",
    hub=("RyanWW/Super-CLEVR",),
    tables={},
    columns={},
    example=_no_table,
    scorer="superclevr",
    chance=0.216,
    sizes={"train": 200_000, "validation": 50_000, "test": 50_000},
    official=_official,
    layout="superCLEVR_questions_30k.json and images/superCLEVR_new_*.png (unpacked)",
)


def _from_conversation(record: Record, split: Split) -> Example | None:
    images = image_of(record["image"])
    draw = int.from_bytes(hashlib.sha256(images[0]).digest()[:6], "big") / 2**48
    if (draw < _TEST_SHARE) != (split == "test"):
        return None
    turns = record["conversations"]
    if not isinstance(turns, list) or len(turns) < 2:
        raise BadRow("no question and answer")
    question, answer = (with_fields(turn).get("value") for turn in turns[:2])
    prompt = without_markers(text(question, "question"), 1)
    return Example(
        id=f"row-{record['row']}",  # the set's own ids may repeat
        prompt=prompt if prompt.endswith(SHORT) else f"{prompt}\n{SHORT}",
        answer=answer_texts(answer)[0],
        images=images,
    )


MATHV360K = Benchmark(
    name="superclevr_mathv360k",
    version=1,
    description="rendered vehicles, free-text answers (Super-CLEVR as converted in MathV360K)",
    licence="not stated for the conversion; see superclevr",
    hub=("lmms-lab-encoder/LLaVA-OneVision-Data", "lmms-lab/LLaVA-OneVision-Data"),
    tables={split: (Table("train", "Super-CLEVR(MathV360K)"), Table("train")) for split in ("train", "test")},
    columns={"image": "image", "conversations": "any"},
    example=_from_conversation,
    scorer="superclevr",
    chance=None,
    sizes={},
)
