"""Atomic writing and named random streams."""

import pytest

from holdfast.files import read_jsonl, whole_folder, write_jsonl, write_text
from holdfast.rng import seed, stream, torch_stream


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(TypeError):
        write_text(path, 3)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "result") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "result") as folder:
        write_jsonl(folder / "rows.jsonl", [{"a": 1}, {"a": "ü"}])
    assert read_jsonl(tmp_path / "result" / "rows.jsonl") == [{"a": 1}, {"a": "ü"}]


def test_streams_depend_on_all_their_names():
    assert seed("a", 1) == seed("a", "1") != seed("a", 2) != seed("a1")
    assert seed("ab", "c") != seed("a", "bc")
    assert stream("x").random() == stream("x").random()
    assert torch_stream("x").initial_seed() == seed("x")
