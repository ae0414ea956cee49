"""Atomic writing and named random streams."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from holdfast.errors import InputError
from holdfast.experiment.export import copy_folder
from holdfast.experiment.locks import check_writable
from holdfast.files import (
    read_jsonl,
    recover_folder,
    scratch_folder,
    sweep,
    whole_file,
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


@pytest.mark.parametrize("named", [(), ("TEMPORARY",), ("elsewhere", None, "TEMPORARY")])
def test_what_a_full_disk_could_not_take_is_named(tmp_path, named):
    def full(place):
        names = [f"{place}/x" if name == "TEMPORARY" else name for name in named]
        raise OSError(errno.ENOSPC, "full", *names)

    for writing in (whole_file, whole_folder):
        with pytest.raises(OSError, match="full") as caught, writing(tmp_path / "result") as temporary:
            full(temporary)
        assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "result"), None)
        with pytest.raises(FileNotFoundError) as caught, writing(tmp_path / "result"):
            (tmp_path / "nowhere").stat()
        assert caught.value.filename == str(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_so_is_what_may_not_be_written(tmp_path, monkeypatch):
    def refused(suffix, prefix, folder):
        raise PermissionError(errno.EACCES, "refused", f"{folder}/{prefix}abc{suffix}")

    monkeypatch.chdir(tmp_path)
    for way, writing in (("mkstemp", whole_file), ("mkdtemp", whole_folder)):
        monkeypatch.setattr(tempfile, way, refused)
        with pytest.raises(PermissionError) as caught, writing(Path("result")):
            pass
        assert caught.value.filename == "result"


def test_a_folder_is_copied_up_to_the_first_file_that_cannot_be(tmp_path):
    for name in ("a", "sub/b", "left/c", "sub/left"):
        write_text(tmp_path / "from" / name, name)
    (tmp_path / "to").mkdir()
    copy_folder(tmp_path / "from", tmp_path / "to", without="left")
    assert sorted(map(str, (path.relative_to(tmp_path / "to") for path in (tmp_path / "to").rglob("*")))) == [
        "a",
        "sub",
        "sub/b",
    ]
    (tmp_path / "from/a").rename(tmp_path / "from/b")
    with pytest.raises(FileExistsError):  # one error of the system, and no list of all
        copy_folder(tmp_path / "from", tmp_path / "to", without="left")


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
        monkeypatch.setattr("holdfast.files.whole.sync", lambda path: os._exit(0) if len(done) == 2 else None)
        try:
            write_folder(target, "new")
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    recover_folder(target)
    assert (target / "text").read_text() == ("new" if moves == 2 else "old")
    assert not list(tmp_path.glob(".*.old"))
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


def test_a_folder_behind_a_link_is_replaced_there(tmp_path):
    """As of a prepared set that lies on a larger disk."""
    place, link = tmp_path / "large" / "set", tmp_path / "data" / "set"
    place.parent.mkdir()
    link.parent.mkdir()
    link.symlink_to(place)
    for text in ("first", "second", "third"):
        write_folder(link, text)
        assert (place / "text").read_text() == text
    os.replace(place, place.with_name(".set.replaced.old"))  # a process died just there
    recover_folder(link)
    assert (link / "text").read_text() == "third"
    assert [*link.parent.iterdir(), *place.parent.iterdir()] == [link, place] and link.is_symlink()


def test_a_file_that_a_killed_process_left_half_written_goes_when_another_is_written_there(tmp_path):
    table = tmp_path / "tables" / "a.csv"
    with whole_file(table) as living:
        left, fresh = (living.with_name(living.name.replace("a.csv", name)) for name in ("b.csv", "c.csv"))
        people = [living.with_name(name) for name in (".a", ".a.csv.original")]
        for path in (living, left, fresh, *people):
            path.write_text("x")
        for path in (living, left, *people):
            os.utime(path, (0, 0))
        write_text(tmp_path / "tables" / "d.csv", "")
        assert not left.exists()
        assert living.exists()  # however long it takes
        assert fresh.exists()  # it may not be locked yet
        assert all(path.exists() for path in people)
    assert table.read_text() == "x"


WRITER = """
import sys, time
from pathlib import Path
from holdfast.files import whole_folder
with whole_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def hidden(folder):
    return sorted(path for path in folder.iterdir() if path.name.startswith("."))


def test_a_folder_half_written_goes_when_its_process_is_dead_and_not_before(tmp_path):
    target = tmp_path / "model"
    people = [tmp_path / name for name in (".model.settings", ".model.old", ".todo.unfinished")]
    for folder in people:
        folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, target], stdout=subprocess.PIPE, text=True
    ) as writer:
        unfinished = Path(writer.stdout.readline().strip())
        assert sorted([*people, unfinished]) == hidden(tmp_path)
        write_folder(tmp_path / "other", "x")
        assert (unfinished / "half").read_text() == "x"  # it lives
        writer.kill()
        writer.wait()
        write_folder(target, "new")
    assert hidden(tmp_path) == sorted(people)
    assert (target / "text").read_text() == "new"


def test_a_folder_that_another_machine_writes_stays_for_a_day(tmp_path, monkeypatch):
    """Its lock may not be seen here."""
    with scratch_folder(tmp_path / "model") as folder:
        monkeypatch.setattr("holdfast.files.whole.platform.node", lambda: "elsewhere")
        with scratch_folder(tmp_path / "model") as theirs:
            pass
        (theirs / "shard").mkdir(parents=True)
        now = folder.stat().st_mtime
        monkeypatch.undo()
        for age in (80_000, 90_000):
            assert theirs.exists()
            for path in (theirs, theirs / "shard"):
                os.utime(path, (now - age, now - age))
            sweep(tmp_path, now)
        assert hidden(tmp_path) == [folder]


def test_the_longest_name_of_a_file_system_can_be_written(tmp_path):
    for name in ("x" * 255, "ü" * 127):
        write_folder(tmp_path / name, "old")
        write_folder(tmp_path / name, "new")
        assert (tmp_path / name / "text").read_text() == "new"
        write_text(tmp_path / name[1:], "x")
    assert hidden(tmp_path) == []


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


def test_a_full_disk_keeps_no_trace_of_the_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        check_writable(tmp_path / "store", "store")
    assert list((tmp_path / "store").iterdir()) == []
