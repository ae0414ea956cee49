"""Preparing from the hub: what is asked of it, what is fetched, and what is said where it gives nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.errors import InputError
from holdfast.tasks import source
from holdfast.tasks.benchmarks import BENCHMARKS
from holdfast.tasks.catalog import get_task
from holdfast.tasks.prepare import prepare
from holdfast.tasks.source import files_of, from_hub
from holdfast.tasks.tables import read_parquet
from hub_fixtures import HUB, ROWS, save

GQA = BENCHMARKS["gqa"]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_the_hub(tmp_path, data, monkeypatch):
    HUB["gqa"](tmp_path)
    asked = []

    def download(benchmark, id, revision):
        asked.append((id, revision))
        if id == "lmms-lab-encoder/GQA":
            raise source._NotThere("there is no such data set")
        return tmp_path, "abc"

    monkeypatch.setattr(source, "_download", download)
    manifest = prepare(GQA, from_hub(GQA, None, None), data / "gqa")
    assert manifest["origin"] == "lmms-lab/GQA@abc"
    assert asked == [("lmms-lab-encoder/GQA", None), ("lmms-lab/GQA", None)]
    monkeypatch.setattr(
        source, "_download", lambda *_: (_ for _ in ()).throw(source._NotThere("cannot be reached"))
    )
    with pytest.raises(InputError, match=r"lmms-lab/GQA: cannot be reached\n.*hf download .*--from FOLDER"):
        from_hub(GQA, None, None)
    with pytest.raises(InputError, match="is no table on the hub"):
        from_hub(BENCHMARKS["superclevr"], None, None)


def begin(server: ThreadingHTTPServer) -> None:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class FakeHub(BaseHTTPRequestHandler):
    """Speaks as much of the hub's interface as a download needs, for one data set."""

    folder: Path
    id = "lmms-lab/POPE"
    commit = "0123456789abcdef0123456789abcdef01234567"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        names = [file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*.*")]
        file = self.folder / path.removeprefix(f"/datasets/{self.id}/resolve/{self.commit}/")
        if path.startswith(f"/api/datasets/{self.id}/tree/"):
            tree = [{"type": "file", "path": name, "oid": "0" * 40, "size": 1} for name in names]
            self.reply(json.dumps(tree).encode(), "application/json")
        elif path.startswith(f"/api/datasets/{self.id}"):
            siblings = [{"rfilename": name} for name in names]
            about = {"id": self.id, "sha": self.commit, "siblings": siblings, "private": False}
            about |= {"downloads": 0, "likes": 0, "tags": [], "gated": False, "disabled": False}
            self.reply(json.dumps(about).encode(), "application/json")
        elif path.startswith("/datasets/") and file.is_file():
            self.reply(file.read_bytes(), "application/octet-stream")
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_downloading_from_a_hub(tmp_path, data):
    """The newer organisation's id is not there, the older one's is; only the task's files are fetched."""
    HUB["pope"](tmp_path / "repository")
    save(tmp_path / "repository" / "Full" / "popular-00000-of-00001.parquet", b"not fetched")
    FakeHub.folder = tmp_path / "repository"
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    begin(server)
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1", "HOLDFAST_DATA": str(data), "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    command = [sys.executable, "-m", "holdfast", "data", "prepare", "pope"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    server.shutdown()
    assert done.returncode == 0, done.stderr
    assert len(get_task("pope").examples("test")) == 3 * ROWS
    manifest = json.loads((data / "pope" / "manifest.json").read_text())
    assert manifest["origin"] == f"lmms-lab/POPE@{FakeHub.commit}"
    assert any("lmms-lab-encoder/POPE" in path for path in FakeHub.asked)
    assert not any("popular" in path for path in FakeHub.asked)


class ClosedHub(FakeHub):
    """Has no data set that it gives away."""

    error = "GatedRepo"

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("X-Error-Code", self.error)
        self.send_header("X-Error-Message", "Access to dataset is restricted.")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("GatedRepo", r"access must be granted: accept its terms on its page, then 'hf auth login'"),
        ("RepoNotFound", r"there is no such data set \(or it is private: 'hf auth login'\)"),
        ("Other", r"cannot be reached \(.*401"),
        (None, r"cannot be reached \(Connect"),
    ],
)
def test_a_hub_that_does_not_give_the_data(monkeypatch, error, message):
    """Every id is tried; then it says what went wrong with each, and what to do elsewhere."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), ClosedHub)
    monkeypatch.setattr(ClosedHub, "error", error)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    if error:
        begin(server)
    else:
        server.server_close()  # nobody answers at this address
    with pytest.raises(InputError) as caught:
        from_hub(GQA, None, None)
    if error:
        server.shutdown()
    said = str(caught.value)
    for id in GQA.hub:
        assert re.search(rf"  {id}: {message}", said)
    assert "On a machine with access, run 'hf download lmms-lab-encoder/GQA --repo-type dataset" in said
    assert "holdfast data prepare gqa --from FOLDER" in said


def test_which_files_of_a_hub_repository_are_fetched():
    names = [
        "README.md", "train_all_images/train-00000-of-00009.parquet",
        "testdev_balanced_images/testdev-0.parquet",
        "testdev_balanced_instructions/testdev-00000-of-00001.parquet", "val_all_instructions/val-0.parquet",
    ]  # fmt: skip
    assert source._wanted(GQA, names) == [names[2], names[3]]
    assert source._wanted(BENCHMARKS["pope"], ["data/test-0.parquet", "Full/adversarial-0.parquet"]) == [
        "data/test-0.parquet"
    ]
    converted = ["default/test/0000.parquet", "Full/test/0000.parquet"]
    assert source._wanted(BENCHMARKS["pope"], converted) == converted[:1]
    assert files_of("*/dev", ["Art/dev-0.parquet", "Art/dev.csv", "Art/test-0.parquet"]) == [
        "Art/dev-0.parquet"
    ]


def test_a_column_that_some_of_the_files_lack_is_not_left_out_of_all(tmp_path):
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(pa.table({"id": ["x"]}), files[0])
    pq.write_table(pa.table({"id": ["y"], "image_2": ["picture"]}), files[1])
    for order in (files, files[::-1]):
        with pytest.raises(InputError, match=r"a\.parquet has no column image_2, which b\.parquet has"):
            list(read_parquet(order, ("id", "image_2")))
        assert sorted(row["id"] for row in read_parquet(order, ("id", "hint"))) == ["x", "y"]
