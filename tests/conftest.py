"""Fixtures that several test files use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from cli_helpers import Call, Said
from holdfast import cli


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
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports draw their figures and write no files of them: for tests of what stands around these."""
    monkeypatch.setattr("holdfast.report.page.save", lambda figure, folder, name, looks: "<svg></svg>")
