"""PathVQA: pathology images; half of the questions are yes/no, the others ask for a phrase."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from holdfast.errors import InputError
from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.hub.benchmark import (
    SHORT,
    Benchmark,
    Reader,
    Record,
    Table,
    answer_texts,
    first_folder,
    image_of,
    inside,
    rows_of,
    text,
    with_fields,
)  # fmt: skip
from holdfast.tasks.task import Split

_SPLITS: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}


def _example(record: Record, images: tuple[ImageSource, ...], split: Split) -> Example:
    return Example(
        id=f"{split}-{record['row']}",
        prompt=f"{text(record['question'], 'question')}\n{SHORT}",
        answer=answer_texts(record["answer"])[0],
        images=images,
    )


def _from_hub(record: Record, split: Split) -> Example:
    return _example(record, image_of(record["image"]), split)


def _official(folder: Path) -> dict[Split, Reader]:
    base = folder / "pvqa" if (folder / "pvqa").is_dir() else folder
    found: dict[Split, Reader] = {}
    for split, name in _SPLITS.items():
        file = base / "qas" / name / f"{name}_qa.pkl"
        if file.is_file():
            found[split] = _reader(file, first_folder(base, f"images/{name}"), split)
    return found


def _reader(file: Path, root: Path, split: Split) -> Reader:
    def records() -> Iterator[Record]:
        for row, record in enumerate(read_plain_pickle(file)):
            yield with_fields(record, row=row)

    def example(record: Record) -> Example:
        return _example(record, (inside(root, f"{text(record['image'], 'image')}.jpg"),), split)

    return Reader(rows_of(records, example))


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dicts, texts and numbers only: a pickle that names any class or function is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")


def read_plain_pickle(path: Path) -> list[dict[str, Any]]:
    """A list of rows from a pickle of plain data.

    Raises:
        InputError: it is damaged, or holds anything that could run code.
    """
    try:
        rows = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(f"{path} is no pickle of plain rows ({error}); download it again.") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} holds no list of rows; expected the file of qas/SPLIT/SPLIT_qa.pkl.")
    return rows


BENCHMARK = Benchmark(
    name="pathvqa",
    version=1,
    description="pathology images, yes/no and phrases (PathVQA)",
    licence="MIT; the images' copyright stays with textbook publishers and PEIR",
    hub=("flaviagiammarino/path-vqa",),
    tables={split: (Table(split),) for split in _SPLITS},
    columns={"image": "image", "question": "text", "answer": "scalar"},
    example=_from_hub,
    scorer="pathvqa",
    chance=None,
    sizes={"train": 19654, "validation": 6259, "test": 6719},
    official=_official,
    layout="pvqa/qas/{train,val,test}/SPLIT_qa.pkl and pvqa/images/{train,val,test}/NAME.jpg",
)
