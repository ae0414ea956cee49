"""Atomic writing and named random streams."""

import pytest

from holdfast.files import read_jsonl, read_log, whole_folder, write_jsonl, write_text
from holdfast.rng import seed, stream, torch_stream


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(TypeError):
        write_text(path, 3)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def fail_halfway():
        with whole_folder(tmp_path / "result") as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "result") as folder:
        write_jsonl(folder / "rows.jsonl", [{"a": 1}, {"a": "ü"}])
    assert read_jsonl(tmp_path / "result" / "rows.jsonl") == [{"a": 1}, {"a": "ü"}]


def test_a_torn_last_row_of_a_log_is_no_obstacle(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read_log(path, 3) == []
    path.write_text('{"a": 1}\n{"a": 2}\n{"a": ')
    assert read_log(path, 2) == [{"a": 1}, {"a": 2}]


def test_written_files_are_as_readable_as_others(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "whole", "x")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_streams_depend_on_all_their_names():
    assert seed("a", 1) == seed("a", "1") != seed("a", 2) != seed("a1")
    assert seed("ab", "c") != seed("a", "bc")
    assert stream("x").random() == stream("x").random()
    assert torch_stream("x").initial_seed() == seed("x")
