"""Rows of releases with values that do not belong there: an example or a counted bad row, never a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.errors import InputError
from holdfast.start.split import split_file
from holdfast.tasks.benchmarks import BENCHMARKS
from holdfast.tasks.benchmarks.benchmark import BadRow
from holdfast.tasks.example import Example
from holdfast.tasks.prepare import prepare
from holdfast.tasks.source import from_folder
from holdfast.tasks.task import Split
from hub_fixtures import HUB, IMAGE, OFFICIAL, hub_image, table

ODD: tuple[Any, ...] = (None, True, 3, 2.5, "", "../x", [], [None], [3], ["x"], {}, {"a": 1})
# The file that is spoilt, how to read and write it, and where its first row is.
Place = Callable[[Any], tuple[Any, Any]]
FILES: dict[str, tuple[str, Place]] = {
    "vizwiz": ("Annotations/train.json", lambda data: (data, 1)),
    "superclevr": ("superCLEVR_questions_30k.json", lambda data: (data["questions"], 0)),
}


def spoilt(data: Any, place: Place) -> Iterator[Any]:
    """The data with each field of one row missing or odd, and with the whole row odd."""
    rows, key = place(data)
    for field in list(rows[key]):
        for value in ODD:
            changed = copy.deepcopy(data)
            rows, key = place(changed)
            rows[key][field] = value
            yield changed
        changed = copy.deepcopy(data)
        rows, key = place(changed)
        del rows[key][field]
        yield changed
    for value in ODD:
        changed = copy.deepcopy(data)
        rows, key = place(changed)
        rows[key] = value
        yield changed


def rows_of(name: str, folder: Path, split: Split = "train") -> list[Any]:
    """The Examples of a release, and the BadRows in their places."""
    benchmark, rows = BENCHMARKS[name], []
    for number, record in enumerate(from_folder(benchmark, folder).splits[split]()):
        try:
            rows.append(benchmark.example({"row": number, **record}, split))
        except (BadRow, KeyError) as bad:
            rows.append(bad)
    return rows


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_rows(tmp_path: Path, name: str) -> None:
    OFFICIAL[name](tmp_path)
    where, place = FILES[name]
    file = tmp_path / where
    data = json.loads(file.read_bytes())
    usable = len([row for row in rows_of(name, tmp_path) if isinstance(row, Example)])
    bad = 0
    for changed in spoilt(data, place):
        file.write_text(json.dumps(changed))
        rows = rows_of(name, tmp_path)
        examples = [row for row in rows if isinstance(row, Example)]
        assert len(examples) >= usable - 1  # the others are as they were
        assert all(row.answer.strip() and row.prompt.strip() for row in examples)
        bad += any(isinstance(row, BadRow | KeyError) for row in rows)
    assert bad > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", HUB)
def test_hub_rows_with_nulls(tmp_path: Path, name: str) -> None:
    HUB[name](tmp_path)
    benchmark = BENCHMARKS[name]
    split = next(iter(from_folder(benchmark, tmp_path).splits))
    word = benchmark.tables[split][0].rpartition("/")[2]
    file = min(file for file in tmp_path.rglob(f"{word}-*.parquet") if "images" not in str(file.parent))
    whole = pq.read_table(file)
    first, *others = whole.to_pylist()
    for column, value in first.items():
        odd: list[Any] = [None]
        if isinstance(value, list):
            odd += [[], [None], [*value, None]]
        if isinstance(value, str):
            odd += ["", " "]
        if isinstance(value, dict):
            odd += [dict.fromkeys(value), {**value, "bytes": None}, {**value, "bytes": b""}]
        for changed in odd:
            pq.write_table(pa.Table.from_pylist([{**first, column: changed}, *others], whole.schema), file)
            rows = rows_of(name, tmp_path, split)
            assert sum(isinstance(row, Example) for row in rows) >= 1


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("vizwiz", "Annotations/train.json", '[{"image": ', "train.json is broken or incomplete"),
        ("vizwiz", "Annotations/train.json", b"\xff", "train.json is broken or incomplete"),
        ("vizwiz", "Annotations/train.json", '{"a": 1}', "train.json holds no list"),
        ("superclevr", "superCLEVR_questions_30k.json", "{", "30k.json is broken or incomplete"),
        ("superclevr", "superCLEVR_questions_30k.json", '{"info": 1}', "has no list 'questions'"),
    ],
)  # fmt: skip
def test_files_that_are_broken(
    tmp_path: Path, name: str, file: str, content: str | bytes, message: str
) -> None:
    OFFICIAL[name](tmp_path)
    (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message):
        prepare(BENCHMARKS[name], from_folder(BENCHMARKS[name], tmp_path), tmp_path / "set")


def test_an_image_that_is_named_but_elsewhere_is_reported(tmp_path: Path) -> None:
    """ScienceQA's rows without an image are no part of the task; one whose image got lost is a bad row."""
    HUB["scienceqa"](tmp_path)
    file = min((tmp_path / "data").glob("train-*"))
    first, *others = pq.read_table(file).to_pylist()
    table(file, [{**first, "image": {**hub_image(0), "bytes": None}}, *others], image=IMAGE, answer=pa.int8())
    benchmark = BENCHMARKS["scienceqa"]
    train = prepare(benchmark, from_folder(benchmark, tmp_path), tmp_path / "set")["splits"]["train"]
    assert (train["left_out"], train["bad_rows"]) == (1, 1)
    assert "'0.jpg' is named, but not in the file" in train["problems"][0]


def test_rows_of_several_pictures_that_share_one_are_held_out_together(tmp_path: Path) -> None:
    rows = [
        {"prompt": str(n), "answer": "x", "images": [f"{n // 4}.png", f"own-{n}.png"][: 1 + n % 2]}
        for n in range(40)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    read = [list(map(json.loads, part.read_text().splitlines())) for part in split_file(file).values()]
    shown = [{picture for row in part for picture in row["images"]} for part in read]
    assert not shown[0] & shown[1] and [*map(len, read)] == [32, 8]
