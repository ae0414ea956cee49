"""Columns as pandas, VQA v2 and spreadsheets leave them: what is meant is read, or said to be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.errors import InputError
from holdfast.tasks.benchmarks.benchmark import BadRow
from holdfast.tasks.benchmarks.fields import answer_list, letter_at
from holdfast.tasks.columns import TableTask, load_table_task
from holdfast.tasks.example import Example
from holdfast.tasks.picturecolumns import pictured, pictures_in
from hub_fixtures import picture, save


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path.with_name(f"{tmp_path.name}-data")))


def examples(file: Path, **settings: Any) -> list[Example]:
    task = load_table_task("mine", TableTask.model_validate({"train": file, "prompt": "{q}", **settings}))
    return sorted(task.examples("train"), key=lambda example: example.id)


def test_places_that_pandas_keeps_as_decimals_are_whole_numbers(tmp_path: Path) -> None:
    """A column of whole numbers in which one is missing is one of floats."""
    columns = {"q": ["a", "b", "c"], "c": [["x", "y"]] * 3, "i": [0.0, 1.0, float("nan")]}
    pq.write_table(pa.table(columns), tmp_path / "mine.parquet")
    read = examples(tmp_path / "mine.parquet", choices="c", answer_index="i", scorer="options")
    assert [(example.prompt[0], example.answer) for example in read] == [("a", "A"), ("b", "B")]
    for place in (0.5, 2.0, -1.0, float("inf"), True):
        with pytest.raises(BadRow, match="no index of 2 choices"):
            letter_at(place, ("x", "y"))


def test_accepted_answers_may_be_objects_with_an_answer(tmp_path: Path) -> None:
    given = [{"answer": "dog", "answer_id": 1}, {"answer": "puppy", "answer_id": 2}, {"answer": "dog"}]
    pq.write_table(pa.table({"q": ["a"], "answers": [given]}), tmp_path / "mine.parquet")
    (read,) = examples(tmp_path / "mine.parquet", references="answers", scorer="vqa")
    assert (read.answer, read.references) == ("dog", ("dog", "puppy", "dog"))
    with pytest.raises(BadRow, match="no answer"):
        answer_list([{"text": "dog"}])


def test_an_answer_that_is_a_list_says_what_to_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["a"], "label": [["14"]]}), tmp_path / "mine.parquet")
    with pytest.raises(InputError, match=r"'label' holds lists, not texts; .* goes by references"):
        examples(tmp_path / "mine.parquet", answer="{label}")


def test_a_field_of_csv_may_list_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / name, picture(1))
    file = tmp_path / "mine.csv"
    file.write_text("q,a,shown\nhow many?,2,\"['a.png', 'b.png']\"\nhow many?,0,[]\n")
    assert [len(example.images) for example in examples(file, answer="{a}", images="shown")] == [2, 0]
    assert pictured([{"shown": "['a.png', 'b.png']"}], tmp_path) == ["shown"]
    assert pictured([{"shown": "['a', 'b']"}], tmp_path) == []


def test_addresses_of_pictures_are_told_as_such(tmp_path: Path) -> None:
    for address in ("https://example.org/x.png", f"file://{tmp_path}/x.png"):
        with pytest.raises(BadRow, match=r"holds an address .* nothing is fetched"):
            list(pictures_in(address, "shown", tmp_path))
