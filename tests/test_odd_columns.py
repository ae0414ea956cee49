"""Columns as pandas, VQA v2 and spreadsheets leave them: what is meant is read, or said to be wrong."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.errors import HoldfastError, InputError
from holdfast.tasks.benchmarks.benchmark import BadRow
from holdfast.tasks.benchmarks.fields import answer_list, inside, letter_at
from holdfast.tasks.columns import TableTask
from holdfast.tasks.copied import load_table_task
from holdfast.tasks.example import Example
from holdfast.tasks.picturecolumns import pictured, pictures_in
from holdfast.tasks.rows import Row
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
    assert [letter_at(place, ("x", "y")) for place in ("1", "1.0", " 1 ", 1.0)] == ["B"] * 4
    for place in ("1.5", "-1", "", 0.5, 2.0, -1.0, float("inf"), True):
        with pytest.raises(BadRow, match="no index of 2 choices"):
            letter_at(place, ("x", "y"))


ANSWERS = ["B", "b", "blue", " blue ", "Blue", "(B)", "B.", "B. blue", "(B) blue"]


def test_an_answer_is_the_option_that_it_says(tmp_path: Path) -> None:
    answers = [*ANSWERS, "B. red", "C", "blue or red"]
    columns = {"q": ["?"] * len(answers), "c": [["red", "blue"]] * len(answers), "a": answers}
    pq.write_table(pa.table(columns), tmp_path / "mine.parquet")
    read = examples(tmp_path / "mine.parquet", choices="c", answer="{a}", scorer="options")
    assert [example.answer for example in read] == ["B"] * len(ANSWERS)
    both = {"prompt": "?", "choices": ["B", "blue", "BLUE"]}
    for answer in ("(B)", "Blue"):
        with pytest.raises(InputError, match="is neither a letter A to C nor one of the choices"):
            Row({**both, "answer": answer}, "options", "1").example()


@pytest.mark.parametrize(
    "choices",
    [
        {"A": "red", "B": "blue"}, {"A": "red", "B": "blue", "C": None}, "['red', 'blue']",
        {"text": ["red", "blue"], "label": ["A", "B"]},
    ],
)  # fmt: skip
def test_choices_may_be_objects(tmp_path: Path, choices: Any) -> None:
    pq.write_table(pa.table({"q": ["?"], "c": [choices], "a": ["blue"]}), tmp_path / "mine.parquet")
    (read,) = examples(tmp_path / "mine.parquet", choices="c", answer="{a}", scorer="options")
    assert (read.choices, read.answer) == (("red", "blue"), "B")
    if "A" in choices:
        row = Row({"prompt": "?", "choices": choices, "answer": "blue"}, "options", "1").example()
        assert (row.choices, row.answer) == (("red", "blue"), "B")


def test_choices_that_end_in_nan_are_fewer(tmp_path: Path) -> None:
    """As MMBench has them on the hub."""
    (tmp_path / "mine.csv").write_text("q,A,B,C,D,a\n?,x,y,nan,nan,B\n?,x,nan,y,z,B\n")
    read = examples(tmp_path / "mine.csv", choices=["A", "B", "C", "D"], answer="{a}", scorer="options")
    assert [example.choices for example in read] == [("x", "y"), ("x", "nan", "y", "z")]


def test_choices_that_are_null_are_an_open_question_where_letters_are_not_all_that_counts(
    tmp_path: Path,
) -> None:
    columns = {"q": ["x", "y"], "c": [["red", "blue"], None], "a": ["B", "12"]}
    pq.write_table(pa.table(columns), tmp_path / "mine.parquet")
    for scorer, count in (("mmmu", 2), ("exact", 2), ("options", 1)):
        read = examples(tmp_path / "mine.parquet", choices="c", answer="{a}", scorer=scorer)
        assert [example.choices for example in read] == [("red", "blue"), ()][:count]


def test_accepted_answers_may_be_objects_with_an_answer(tmp_path: Path) -> None:
    given = [{"answer": "dog", "answer_id": 1}, {"answer": "puppy", "answer_id": 2}, {"answer": "dog"}]
    pq.write_table(pa.table({"q": ["a"], "answers": [given]}), tmp_path / "mine.parquet")
    (read,) = examples(tmp_path / "mine.parquet", references="answers", scorer="vqa")
    assert (read.answer, read.references) == ("dog", ("dog", "puppy", "dog"))
    assert answer_list("['dog', 'cat']") == ("dog", "cat")  # as CSV has them
    with pytest.raises(BadRow, match="no answer"):
        answer_list([{"text": "dog"}])


def test_decimal_numbers_are_answers_and_times_are_not(tmp_path: Path) -> None:
    numbers = pa.array([Decimal("0E-8"), Decimal("2.50")], pa.decimal128(20, 8))
    times = pa.array([datetime(2020, 1, 1)] * 2)
    pq.write_table(pa.table({"q": ["a", "b"], "sum": numbers, "time": times}), tmp_path / "mine.parquet")
    read = examples(tmp_path / "mine.parquet", answer="{sum}", scorer="number")
    assert [one.answer for one in read] == ["0.00000000", "2.50000000"]
    with pytest.raises(InputError, match="column 'time' holds datetime, not text; save it as texts"):
        examples(tmp_path / "mine.parquet", answer="{time}")


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


def test_a_column_row_is_no_number_of_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["a", "b"], "l": ["x", "y"], "row": [5, 5]}), tmp_path / "mine.parquet")
    read = examples(tmp_path / "mine.parquet", answer="{l}", prompt="{q} {row}")
    assert [(example.id, example.prompt) for example in read] == [("train-0", "a 5"), ("train-1", "b 5")]


def test_an_object_that_is_no_picture_is_told() -> None:
    with pytest.raises(BadRow, match="holds no image"):
        list(pictures_in({"url": "http://x/a.png"}, "image", None))


def test_addresses_of_pictures_are_told_as_such(tmp_path: Path) -> None:
    for address in ("https://example.org/x.png", f"file://{tmp_path}/x.png"):
        with pytest.raises(BadRow, match=r"holds an address .* nothing is fetched"):
            list(pictures_in(address, "shown", tmp_path))


@pytest.mark.slow
def test_a_fraction_may_come_late_in_json(tmp_path: Path) -> None:
    """`datasets` takes the type of a column from the first 10 MB of a file."""
    rows = [{"q": "?" * 6000, "a": n} for n in range(2000)] + [{"q": "last", "a": 0.5, "late": "column"}]
    save(tmp_path / "mine.jsonl", "\n".join(map(json.dumps, rows)).encode())
    answers = {one.id: one.answer for one in examples(tmp_path / "mine.jsonl", answer="{a}{late}")}
    assert (answers["train-7"], answers["train-2000"]) == ("7", "0.5column")


def test_json_says_which_row_is_broken(tmp_path: Path) -> None:
    for text, told in (
        ('{"q": "?", "a": 1}\n{"q": "?", "a"\n', "mine.jsonl, line 2: is broken JSON"),
        ('{"q": "?", "a": 1}\n\n[1]\n', "mine.jsonl, line 3: must hold objects"),
        ('{"q": "?", "a": 1, "q": "!"}\n{}', "mine.jsonl, line 1, field 'q': stands there twice"),
    ):
        save(tmp_path / "mine.jsonl", text.encode())
        with pytest.raises(InputError, match=told):
            examples(tmp_path / "mine.jsonl", answer="{a}")


def test_fractions_of_few_bits_are_as_short_as_they_are(tmp_path: Path) -> None:
    for kind, file in ((pa.float32(), tmp_path / "mine.parquet"), (pa.float16(), tmp_path / "less.parquet")):
        pq.write_table(pa.table({"q": ["?"] * 3, "a": pa.array([0.1, 3.3, None], kind)}), file)
        assert [one.answer for one in examples(file, answer="{a}")] == ["0.1", "3.3"]


def test_annotators_of_a_table_may_have_no_answer(tmp_path: Path) -> None:
    said = ["dog"] * 3 + ["cat"] * 3 + ["", None, float("nan"), " "]
    save(tmp_path / "mine.jsonl", json.dumps({"q": "?", "said": said}).encode())
    (one,) = examples(tmp_path / "mine.jsonl", references="said", scorer="vqa")
    assert (one.answer, one.references) == ("dog", ("dog",) * 3 + ("cat",) * 3 + ("",) * 4)
    (one,) = examples(tmp_path / "mine.jsonl", references="said", scorer="mmmu")
    assert one.references == ("dog",) * 3 + ("cat",) * 3


def test_a_picture_that_lost_its_bytes_is_not_taken_for_none(tmp_path: Path) -> None:
    for lost in ({"bytes": b"", "path": None}, {"bytes": b""}, b""):
        assert list(pictures_in([lost], "image", tmp_path)) == [b""]
    for none in (None, {"bytes": None, "path": None}, ""):
        assert list(pictures_in([none], "image", tmp_path)) == []


def test_a_long_text_in_place_of_a_file_is_named_by_its_beginning(tmp_path: Path) -> None:
    with pytest.raises(HoldfastError, match=r"^x{80} … is unreadable \(file name too long\)$"):
        inside(tmp_path, "x" * 9000).read()
