"""Fixtures that several test files use."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when it is imported: no test waits for a hub
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
# The server that copies processes imports `preloaded`, and says nothing where it does not find it.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
)

import unsynced  # noqa: F401
from cli_helpers import Call, Said
from holdfast import cli
from holdfast.experiment import local
from holdfast.report import page, panels, style
from holdfast.report.section import Drawing, Section
from processes import FORKED

pytest_plugins = ["mirror_helpers"]  # its fixtures


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Modules and tests are there to stay: the garbage collector need not go through them time and again."""
    gc.disable()
    found = yield
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()
    return found


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a run are forked from a process that has everything imported."""
    monkeypatch.setattr(local, "context_for", lambda device: FORKED)


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model is copied, not read time and again."""
    if policy := sys.modules.get("holdfast.policy.policy"):  # else nothing here works with models
        from readonce import copied_model

        monkeypatch.setattr(policy, "load_model", copied_model)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An engine that draws, on this machine; no proxy stands before it."""
    from engine_server import serving

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as made:
        yield made


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `holdfast` with some arguments."""

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["holdfast", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        code = end.value.code or 0
        return Said(int(code), captured.out, captured.err)

    return call


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of the test's own: results lie in runs/store of the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _unprinted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's figures have no file for print, whose fonts take longest, where no test asks for it."""
    if "printed" not in request.fixturenames:
        monkeypatch.setattr(style, "save_pdf", lambda *_: None)


@pytest.fixture
def printed() -> None:
    """A page's figures have their file for print."""


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports draw figures that are neither laid out nor saved: for tests of what stands around these."""
    monkeypatch.setattr(panels, "_lay_out", lambda *_: None)
    monkeypatch.setattr(page, "save", lambda figure, folder, name, looks: "<svg></svg>")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have no figures at all: for tests of what is written of the rest, and of commands."""

    def without(section: Section, *rest: Any) -> Section:
        parts = [part for part in section.parts if not isinstance(part, Drawing)]
        return filled(replace(section, parts=parts), *rest)

    filled = page._filled
    monkeypatch.setattr(page, "_filled", without)


@pytest.fixture(scope="session")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has forgotten: the embedded one with its last layer switched off."""
    import torch

    from holdfast.policy.policy import Policy
    from holdfast.policy.settings import ModelSettings

    policy = Policy.load("embedded", ModelSettings())
    with torch.no_grad():
        for parameter in policy.model.model.language_model.layers[-1].parameters():
            parameter.zero_()
    folder = tmp_path_factory.mktemp("models") / "hurt"
    policy.save(folder)
    return folder
