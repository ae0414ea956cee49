"""Pipes, sockets and devices where files belong: nothing waits for them, and one line says which it is."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli_helpers import Call
from experiment_helpers import make_experiment
from holdfast import files
from holdfast.config.models import check_model
from holdfast.errors import InputError, NotRegular, reason
from holdfast.experiment.locks import Locks
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Damaged, Store
from holdfast.learning.curve import Curve
from holdfast.policy.policy import Policy
from holdfast.policy.settings import EMBEDDED, ModelSettings
from holdfast.weights import indexed

SAID = "is a pipe, a socket or a device, not a file"


@pytest.fixture(autouse=True)
def _never_waits() -> Iterator[None]:
    def fail(*_: object) -> None:
        pytest.fail("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "locks" / "pipe.json"
    path.parent.mkdir()
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    "use",
    [
        files.read_json,
        files.read_jsonl,
        files.read_bytes,
        files.read_text,
        files.file_digest,
        lambda path: files.listing(path.parent),
        lambda path: Curve(path).mark(),
        lambda path: Curve(path).add({}),
        lambda path: Locks(path.parent.parent).open_lock(path.name),
    ],
)
def test_a_pipe_is_neither_read_nor_written(pipe: Path, use: Callable[[Path], object]) -> None:
    with pytest.raises(NotRegular) as error:
        use(pipe)
    assert str(error.value) == f"{pipe} {SAID}"
    assert reason(error.value) == f"it {SAID}"
    assert files.read_if_there(pipe) is None


def test_nor_is_a_device_or_a_socket(tmp_path: Path) -> None:
    with pytest.raises(NotRegular, match=f"/dev/zero {SAID}"):
        files.read_bytes(Path("/dev/zero"))
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "end"))
        with pytest.raises(NotRegular, match=f"end {SAID}"):
            files.read_bytes(tmp_path / "end")


def test_what_is_no_file_is_not_written_over(tmp_path: Path) -> None:
    """As root, `--out /dev/null` would leave a machine without it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(NotRegular):
            files.write_text(tmp_path / name, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]
    assert (tmp_path / "link").is_fifo()


def test_files_and_links_to_files_are_opened_as_ever(tmp_path: Path) -> None:
    with files.opened(tmp_path / "file", "a") as file:
        file.write("ü")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "nothing").symlink_to("nowhere")
    assert files.read_text(tmp_path / "link") == "ü"
    assert files.listing(tmp_path).keys() == {"file", "link"}
    with pytest.raises(IsADirectoryError):
        files.read_bytes(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["manifest.json", "result.json"])
def test_a_result_with_a_pipe_in_it_is_damaged(tmp_path: Path, name: str) -> None:
    experiment = make_experiment(tmp_path)
    store, job = Store(experiment.store), next(iter(make_plan(experiment).jobs.values()))
    with store.writing(job) as folder:
        files.write_json(folder / "result.json", {})
    (store.folder(job) / name).unlink()
    os.mkfifo(store.folder(job) / name)
    with pytest.raises(Damaged, match="a pipe, a socket or a device"):
        store.result(job)
    moved = store.set_aside(job)
    assert moved is not None and moved.parent.name == "damaged"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "more.safetensors"])
def test_a_model_folder_with_a_pipe_in_it_is_refused(tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(EMBEDDED, tmp_path / "model"))
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    ((key, text),) = check_model(ModelSettings(path=str(folder)))
    assert key == ("model", "path")
    assert text == f"{folder / name} {SAID}; move it out of the model's folder"
    with pytest.raises(InputError, match=SAID if name != "config.json" else "no config.json"):
        Policy.load(str(folder), ModelSettings(path=str(folder)))


def test_a_model_folder_that_is_not_there_has_no_index(tmp_path: Path) -> None:
    assert indexed(tmp_path / "gone") == []


def test_data_that_is_a_pipe_or_holds_one_is_refused(tmp_path: Path, call: Call) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.mkfifo(data / "rows.parquet")
    for source in (data, data / "rows.parquet"):
        said = call("init", tmp_path / "new.yaml", "--data", source, "--model", "embedded")
        assert said.code == 2
        assert f"{data / 'rows.parquet'} {SAID}" in said.err


def test_a_pipe_that_nothing_foresaw_has_its_one_line(pipe: Path, call: Call, monkeypatch) -> None:
    monkeypatch.setattr("holdfast.cli.report.open_run", lambda _: files.read_json(pipe))
    monkeypatch.setattr("holdfast.cli.export.open_run", lambda _: files.read_json(pipe))
    said = call("export", pipe.parent, pipe.parent / "out")
    assert said.code == 1
    assert said.err == f"Error: it is a pipe, a socket or a device, not a file: {pipe}. Move it away.\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extends": "loop.yaml"}, "there is no file"),
        ({"tasks": {"mine": {"train": "loop.jsonl", "test": "loop.jsonl"}}}, "cannot be read"),
        ({"tasks": {"mine": {"train": "rows.jsonl", "scorer": "loop.py:score"}}}, "there is no file"),
    ],
)
def test_a_loop_of_links_is_a_file_that_is_not_there(tmp_path: Path, changes: dict, said: str) -> None:
    for suffix in ("yaml", "jsonl", "py"):
        (tmp_path / f"loop.{suffix}").symlink_to(f"loop.{suffix}")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    sequence = ["mine"] if "tasks" in changes else ["reading"]
    with pytest.raises(InputError, match=said) as error:
        make_experiment(tmp_path, sequence=sequence, **changes)
    assert "loop." in str(error.value)
    with pytest.raises(NotADirectoryError), files.whole_folder(tmp_path / "loop.yaml"):
        pass
