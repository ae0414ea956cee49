"""What reaches the terminal: text as it is, and nothing that rules it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.table import Table

from cli_helpers import Call
from experiment_helpers import write_config
from holdfast.cli.console import PlainConsole
from processes import start

BRACKETS = "a[/x]b[bold]c"


def printed(what: object) -> str:
    file = StringIO()
    PlainConsole(file=file, width=80).print(what)
    return file.getvalue()


def test_square_brackets_are_text() -> None:
    assert printed(f"{BRACKETS} [red]") == f"{BRACKETS} [red]\n"
    grid = Table(BRACKETS)
    grid.add_row("[/x]")
    assert BRACKETS in printed(grid) and "[/x]" in printed(grid)


def test_the_name_of_a_class_is_no_picture() -> None:
    assert printed("rules.py:Key: is no rule") == "rules.py:Key: is no rule\n"


@pytest.mark.parametrize(
    "ruling", ["\x1b[31m", "\x1b]0;title\x07", "\r", "\x9b31m", "\u202e", "\ud800", "\0"]
)
def test_control_characters_are_escapes(ruling: str) -> None:
    said = printed(f"a{ruling}b\tc\nd")
    assert said.startswith("a") and said.endswith("d\n") and said.isascii()
    assert all(character.isprintable() or character in "\n\t" for character in said)


def test_an_escape_is_seen() -> None:
    assert printed("a\x1b[31mb") == "a\\x1b[31mb\n"


def test_folders_with_square_brackets(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / BRACKETS
    folder.mkdir(parents=True)
    config = write_config(folder, {"methods": {"sft": {"objective": "sft"}}, "general": []})
    planned = call("plan", config)
    assert planned.code == 0, planned.err
    shown = call("tasks", "show", "reading", "--out", folder / "s.png", "--count", 1)
    assert shown.code == 0 and str(folder / "s.png") in shown.out
    (folder / "store" / "damaged" / f"learn-{'0' * 16}").mkdir(parents=True)
    pruned = call("store", "--store", folder / "store", "prune", "--damaged")
    assert pruned.code == 0 and BRACKETS in pruned.out
    refused = call("plan", folder / "nothing[/red].yaml")
    assert refused.code == 2 and "nothing[/red].yaml does not exist" in refused.err


def test_ids_of_the_command_line_cannot_rule_the_terminal(call: Call) -> None:
    said = call("tasks", "show", "\x1b[31mred")
    assert said.code == 2 and "\x1b" not in said.err and "\\x1b[31mred" in said.err


def read_by_nobody() -> None:
    """Standard output as `head` leaves it."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, sys.stdout.fileno())


@pytest.mark.slow
def test_nobody_reads_on(call: Call, tmp_path: Path) -> None:
    """The work goes on: a run of hours must not end with the `head` or `tee` behind it."""
    changes = {
        "methods": {"sft": {"objective": "sft"}},
        "general": [],
        "train_examples": 4,
        "test_examples": 2,
    }
    config = write_config(tmp_path, changes | {"sequence": ["reading"]})
    assert call("plan", config).code == 0  # a second one need not import torch
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-m", "holdfast", "plan", str(config)],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert ran.returncode == 0 and "Traceback" not in ran.stderr and "BrokenPipe" not in ran.stderr

    run = start(tmp_path / "said", "run", config, first=read_by_nobody)
    run.join(120)
    said = (tmp_path / "said").read_text()
    assert run.exitcode == 0 and "Traceback" not in said and "BrokenPipe" not in said
    assert (tmp_path / "out" / "report" / "index.html").exists()


@pytest.mark.slow
def test_no_standard_output_at_all(call: Call, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    assert call("plan", config).code == 0  # a second one need not import torch
    command = f"{sys.executable} -m holdfast plan {config} >&-"
    ran = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 0 and "Traceback" not in ran.stderr


def test_counts_beyond_all_sense(call: Call, tmp_path: Path) -> None:
    assert call("tasks", "show", "reading", "--count", 10**8).code == 2
    assert call("plan", write_config(tmp_path), "--workers", "9" * 5000).code == 2
    assert call("data", "prepare", "gqa", "--subset", "train=" + "9" * 5000).code == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_characters(encoding: str) -> None:
    """Python is told by the locale, or so."""
    code = (
        "from holdfast.cli import console\n"
        "console.escape_what_cannot_be_said()\n"
        "console.show_json('− é 😀')\n"
        "console.out.print('− é 😀')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    as_json, as_text = done.stdout.decode(encoding).splitlines()
    assert json.loads(as_json) == "− é 😀"
    said = {"ascii": r"\u2212 \xe9 \U0001f600", "latin-1": r"\u2212 é \U0001f600", "utf-8": "− é 😀"}
    assert as_text == said[encoding]
