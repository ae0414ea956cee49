"""Atomic writing and named random streams."""

import os

import pytest

from holdfast.files import (
    read_jsonl,
    recover_folder,
    sweep,
    whole_folder,
    write_bytes,
    write_jsonl,
    write_text,
)
from holdfast.rng import seed, stream, torch_stream


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(TypeError):
        write_bytes(path, 3)
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


def write_folder(target, text):
    with whole_folder(target) as folder:
        (folder / "text").write_text(text)


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_folder_that_is_replaced_is_never_lost(tmp_path, monkeypatch, moves):
    """The process dies after some of the two renames; nothing after them is run."""
    target, real, done = tmp_path / "result", os.replace, []
    write_folder(target, "old")

    def replace(source, to):
        if len(done) == moves:
            os._exit(0)
        done.append(real(source, to))

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(os, "replace", replace)
        monkeypatch.setattr("holdfast.files.sync", lambda path: os._exit(0) if len(done) == 2 else None)
        try:
            write_folder(target, "new")
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    recover_folder(target)
    assert (target / "text").read_text() == ("new" if moves == 2 else "old")
    write_folder(target, "newer")
    assert (target / "text").read_text() == "newer"


def test_a_folder_that_cannot_be_moved_in_leaves_the_old_one(tmp_path, monkeypatch):
    target, real = tmp_path / "result", os.replace
    write_folder(target, "old")

    def fail_to_move_in(source, to):
        if to == target and not source.name.endswith(".old"):
            raise OSError("full")
        real(source, to)

    monkeypatch.setattr(os, "replace", fail_to_move_in)
    with pytest.raises(OSError, match="full"):
        write_folder(target, "new")
    assert (target / "text").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path):
    left, fresh, other = (tmp_path / "tables" / name for name in (".a.csv.0a_9zzzz", ".a.csv.1a_9zzzz", ".a"))
    for path in (left, fresh, other):
        write_text(path, "")
    for path in (left, other):
        os.utime(path, (0, 0))
    sweep(tmp_path)
    assert set(left.parent.iterdir()) == {fresh, other}  # another process may be writing the fresh one


def test_written_files_are_as_readable_as_others(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "whole", "x")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "folder").mkdir()
    write_folder(tmp_path / "whole_folder", "x")
    assert (tmp_path / "whole_folder").stat().st_mode == (tmp_path / "folder").stat().st_mode


def test_streams_depend_on_all_their_names():
    assert seed("a", 1) == seed("a", "1") != seed("a", 2) != seed("a1")
    assert seed("ab", "c") != seed("a", "bc")
    assert stream("x").random() == stream("x").random()
    assert torch_stream("x").initial_seed() == seed("x")
