"""Tables that readers would call damaged, or take for others: open quotation marks, columns of one name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli_helpers import Call
from holdfast.errors import InputError
from holdfast.tasks.catalog import get_task
from holdfast.tasks.columns import HubTask
from holdfast.tasks.task import Task

TWICE = pa.Table.from_arrays([pa.array(["q", "r"])] * 3, names=["question", "answer", "answer"])


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))


def task(place: Path) -> Task:
    columns = {"prompt": "{question}", "answer": "{answer}", "train": "train", "test": "train"}
    return get_task("mine", {"mine": HubTask.model_validate({"hub": str(place), **columns})})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['a,"b', "c,d", ""], "line 2 that is never closed"),
        (["a,b", 'c,"d'], "line 3 that is never closed"),
        (["a,b", 'c,"d', ""], "line 3 that is never closed"),
        (['"', "x", '","y', "z,w", ""], "line 4 that is never closed"),
        (['a,"b', 'c,"d"', ""], "line 2 that is closed in line 3, before the field ends"),
        (['a,"b', "c,d", '"e, f",g', ""], "line 2 that is closed in line 4, before the field ends"),
        (['"say ""x""', "twice\n\n", '",b', 'c"d,"e"', 'f,"g"h', ""], None),
        (["a," + "b" * 200_000, 'c,"', 'd"'], None),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quotation_mark_that_is_not_closed_is_named_with_its_line(
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    end: str,
    expected: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("rows.csv")
    file.write_bytes(end.join(["question,answer", *lines]).encode())
    if expected is None:
        assert task(file.absolute()).sizes["train"] >= 2
        return
    with pytest.raises(InputError, match=f"rows.csv opens a quoted field in {expected}"):
        task(file.absolute())
    said = call("init", "new.yaml", "--data", file, "--model", "embedded")
    assert said.code == 2
    assert f"rows.csv opens a quoted field in {expected}" in said.err
    assert list(tmp_path.iterdir()) == [tmp_path / file]


def test_columns_of_one_name_are_not_damage(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(TWICE, "rows.parquet")
    with pa.OSFile("rows.arrow", "wb") as out, pa.ipc.new_stream(out, TWICE.schema) as writer:
        writer.write_table(TWICE)
    Path("rows.csv").write_text("question,answer,answer\na,b,c\n")
    for name in ("rows.parquet", "rows.arrow", "rows.csv"):
        expected = f"{name} has more than one column 'answer'; rename one of them"
        with pytest.raises(InputError, match=expected):
            task(tmp_path / name)
        assert expected in call("init", "new.yaml", "--data", name, "--model", "embedded").err
    Path("set").mkdir()
    Path("rows.parquet").rename("set/rows.parquet")
    with pytest.raises(InputError, match=r"set/rows\.parquet has more than one column 'answer'"):
        task(tmp_path / "set")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "question;answer\nHow many, why?;3\n",
            "has its columns apart by semicolons; save it with commas",
        ),
        ("\ufeffquestion\tanswer\nq\ta\n", "has its columns apart by tabs; save it with commas"),
        ("question|answer\nq|a\n", "has its columns apart by bars; save it with commas"),
        ("question,answer\n", "has no rows"),
        ("\n\n", "has no rows"),
        (
            'question,answer\n"1\n2",x\n3,y, z\n',
            "names 2 columns, but its line 4 has 3 fields; quote texts that hold commas",
        ),
    ],
)
def test_columns_apart_by_other_marks_and_a_heading_alone_are_told_as_such(
    tmp_path: Path, call: Call, text: str, expected: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=rf"rows\.csv {expected}"):
        task(file)
    said = call("init", tmp_path / "new.yaml", "--data", file, "--model", "embedded")
    assert said.code == 2
    assert f"rows.csv {expected}" in said.err
