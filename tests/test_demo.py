"""`holdfast demo`: the shipped experiment, run or copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli_helpers import Call
from holdfast import shipped
from holdfast.cli import run as runs


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_demo_runs_the_shipped_file(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(runs, "run", lambda *given, **more: asked.append((given, more)))
    assert call("demo", "seeds=[1]", "--workers", "2").code == 0
    assert asked == [((shipped.configs() / "demo.yaml", ["seeds=[1]"], "2"), {"debug": False})]


def test_the_demos_files_are_copied_and_never_over_others(tmp_path: Path, call: Call) -> None:
    assert call("demo", "--copy", "mine").code == 0
    copied = {path.relative_to("mine"): path.read_bytes() for path in Path("mine").rglob("*.yaml")}
    root = shipped.configs().parent
    there = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.yaml")}
    assert copied == {Path(*name.parts[name.parts[0] == "embedded" :]): text for name, text in there.items()}
    assert {"demo.yaml", "paper/common.yaml", "streams/mrcl.yaml"} <= set(map(str, copied))
    said = call("demo", "--copy", "mine")
    assert said.code == 2 and "is there already" in said.err
