"""Rows of a job under way, read again after it was killed."""

from __future__ import annotations

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
