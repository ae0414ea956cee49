"""Rows of a job under way, read again after it was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.rowlog import RowLog

BATCHES = [[{"id": "a", "score": 1 / 3}, {"id": "ü", "score": 0.1}], [{"id": "b\ud800", "score": None}], []]


def write(path: Path) -> RowLog:
    log = RowLog(path)
    for batch in BATCHES:
        log.add(batch)
    return log


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "work" / "rows.jsonl"
    log = write(path)
    again = RowLog(path)
    assert again.rows == log.rows == [row for batch in BATCHES for row in batch]
    assert again.seconds == log.seconds > 0
    again.add([{"id": "c"}])
    assert RowLog(path).rows == [*log.rows, {"id": "c"}]
    assert RowLog(path).seconds > log.seconds


@pytest.mark.parametrize(
    "damage",
    [
        b'{"seconds": 1, "rows": [{"id": "x"}',
        b'{"seconds": 1, "rows": [{"id": "x"}]}',
        b"\0" * 64,
        b"\xff\n",
        b"[]\n",
        b"{}\n",
    ],
)
def test_what_was_not_written_whole_is_cut_off(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    rows, whole = write(path).rows, path.read_bytes()
    path.write_bytes(whole + damage)
    log = RowLog(path)
    assert log.rows == rows
    assert path.read_bytes() == whole
    path.write_bytes(whole + damage + b"\n" + whole)  # nothing after the damage counts
    RowLog(path).add([{"id": "next"}])
    assert RowLog(path).rows[-1] == {"id": "next"}


def test_without_a_file_rows_are_kept_in_memory() -> None:
    log = RowLog()
    log.add([{"id": "a"}])
    assert log.rows == [{"id": "a"}]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda lines: [*lines, lines[-1]], 3),
        (lambda lines: [lines[0], *lines], 1),
        (lambda lines: lines[1:], 0),
        (lambda lines: [lines[1], lines[0], lines[2]], 0),
        (lambda lines: [lines[0], lines[1].replace(b"null", b"NaN"), lines[2]], 1),
        (lambda lines: [lines[0], lines[1].replace(b"null", b"1.00"), lines[2]], 1),
        (lambda lines: [lines[0].replace(b'"score": 0.1', b'"score": 0.9'), *lines[1:]], 0),
        (lambda lines: [lines[0].replace(b'"id"', b'"di"'), *lines[1:]], 0),
    ],
    ids=["twice", "first twice", "missing", "swapped", "not finite", "null", "digit", "key"],
)
def test_a_line_that_was_not_written_so_ends_what_counts_and_is_told(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], left: int
) -> None:
    path = tmp_path / "rows.jsonl"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))
    told: list[str] = []
    log = RowLog(path, told.append)
    assert told == [f"line {left + 1} of {path} is not what was written"]
    assert log.rows == [row for batch in BATCHES[:left] for row in batch]
    assert path.read_bytes() == b"".join(lines[:left])
    log.add([{"id": "next"}])
    assert RowLog(path, pytest.fail).rows == log.rows


def test_a_line_left_unfinished_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = write(path).rows
    path.write_bytes(path.read_bytes()[:-1])
    assert RowLog(path, pytest.fail).rows == rows[:3]  # the last batch is empty


def test_the_log_of_another_job_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path / "one" / "rows.jsonl")
    (tmp_path / "one").rename(tmp_path / "other")
    told: list[str] = []
    assert not RowLog(tmp_path / "other" / "rows.jsonl", told.append).rows
    assert len(told) == 1
