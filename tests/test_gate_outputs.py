"""What a release pipeline reads: the card, JUnit's XML, JSON, the action."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from cli_helpers import Call
from holdfast import files
from holdfast.checkpoints import comparison, outputs
from holdfast.checkpoints.comparison import Comparison
from holdfast.config.load import load_exam
from holdfast.config.suites import suite
from holdfast.errors import InputError
from test_gate import OPTIONS, answers

HOSTILE = "<img src=x onerror=1>|`]](http://x) @team\n\n# head\x1b[31m\u202e\0"
ACTION = Path(__file__).parents[1] / "action" / "action.yml"


pytestmark = pytest.mark.usefixtures("own_store")


def compared(name: str = "reading", strict: bool = False) -> Comparison:
    lost, few = np.ones(200), np.ones(20)
    lost[:60] = 0
    before = [answers(np.ones(200), name), answers(np.ones(20), "unsure"), answers(np.ones(2000), "same")]
    after = [answers(lost, name), answers(few, "unsure"), answers(np.ones(2000), "same")]
    return comparison.compare(before, after, max_drop=0.01, level=0.95, strict=strict)


def test_the_card_says_what_was_found_and_what_to_keep() -> None:
    card = outputs.to_card(compared(), ("old", "new"), ["a remark"])
    assert card.startswith("### Holdfast: forgotten: `reading`, `all tasks`\n")
    assert "keep: `old`" in card
    assert "| ❌ forgotten | `reading` | 200 | 100.0 | 70.0 | −30.0 [" in card
    assert "| ❔ unclear | `unsure` | 20 |" in card and "| ✅ kept | `same` | 2,000 |" in card
    assert card.rstrip().endswith("`a remark`")
    lines = outputs.picture(compared())
    assert [line.split()[0] for line in lines] == ["reading", "unsure", "same", "all"]
    assert {len(line) - len(line.split("  ")[-1]) for line in lines} == {len(lines[0]) - len("−30.0")}
    where = [line.index("●") for line in lines]
    assert where[0] < where[3] < where[2]  # from the largest fall to none


def test_where_nothing_was_right_more_examples_would_not_tell(call: Call) -> None:
    tasks = ("--tasks", "presence,counting", *OPTIONS, "evaluation.max_tokens=1")
    said = call("check", "embedded", "embedded", *tasks, "--out", "out")
    assert said.code == 0, said.err
    last = " ".join(said.out.split())
    assert (
        "Nothing was shown to be forgotten. Nothing to lose in presence, counting, all tasks, where" in last
    )
    assert "has at most 1 of 100 right: see whether prompt, max_tokens and scorer" in last
    assert "would tell" not in last
    assert "`nothing to lose in presence, counting, all tasks" in Path("out/card.md").read_text()


def test_numbers_of_items_are_written_alike() -> None:
    before, after = [answers(np.ones(2000))], [answers(np.zeros(2000))]
    found = comparison.compare(before, after, max_drop=0.01, level=0.95)
    assert "] | 2,000 | 0 |" in outputs.to_card(found, ("a", "b"), [])
    assert "2,000 lost and 0 gained of 2,000" in outputs.to_junit(found, ("a", "b"))


def test_hostile_names_mean_nothing_anywhere() -> None:
    found = compared(HOSTILE)
    card = outputs.to_card(found, (HOSTILE, HOSTILE), [HOSTILE])
    outside = re.sub(r"```text\n.*?\n```", "", card, flags=re.DOTALL)
    outside = re.sub(r"`[^`\n]*`", "", outside)
    for mark in ("<img", "@team", "# head", "](", "\x1b", "\u202e", "\0"):
        assert mark not in outside, mark
    assert card.count("```") == 2 and "\x1b" not in card
    rows = [line for line in card.splitlines() if line.startswith("| ❌")]
    assert all(line.count("|") == 10 for line in rows)
    junit = outputs.to_junit(found, (HOSTILE, HOSTILE))
    suite = ElementTree.fromstring(junit)
    assert suite.findall("testcase")[0].get("name", "").startswith("<img src=x onerror=1>|`")


def test_junit() -> None:
    suite = ElementTree.fromstring(outputs.to_junit(compared(), ("old", "new")))
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped")} == {
        "tests": "4", "failures": "2", "skipped": "1"
    }  # fmt: skip
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message", "").startswith(
        "forgotten: 100.0 before, 70.0 after (−30.0 points), 60 lost"
    )
    strict = ElementTree.fromstring(outputs.to_junit(compared(strict=True), ("old", "new")))
    assert (strict.get("failures"), strict.get("skipped")) == ("3", "0")


def test_json_alone_is_printed(call: Call) -> None:
    said = call("check", "embedded", "embedded", "--tasks", "presence", *OPTIONS, "--json", "--out", "out")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert facts == files.read_json(Path("out/comparison.json")) | {"flips": "out/flips.jsonl"}
    assert facts["keep"].endswith("embedded") and facts["forgotten"] == []
    assert "Nothing was shown to be forgotten" in said.err
    assert call("evaluate", "embedded", "--tasks", "presence", *OPTIONS).out  # aside no more


def test_the_core_suite() -> None:
    tasks, settings = suite("core")
    exam = load_exam((), None, tasks, settings)
    assert exam.general == ("counting", "reading", "relations", "measures", "presence")
    assert (exam.test_examples, exam.style) == (200, "cot")
    assert "step by step" in exam.prompts["cot"]
    assert load_exam(["test_examples=7"], None, tasks, settings).test_examples == 7
    with pytest.raises(InputError, match="no suite 'cor'; did you mean 'core'"):
        suite("cor")


def run_action(folder: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str], str]:
    """The action's check, as a runner calls it: inputs in the environment, `bash -e` with its script."""
    action: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    given = {name: str(spec.get("default", "")) for name, spec in action["inputs"].items()} | inputs
    (step,) = (step for step in action["runs"]["steps"] if step.get("id") == "check")
    wanted = {
        key: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: given[found[1]], value)
        for key, value in step["env"].items()
    }
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "holdfast"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m holdfast "$@"\n')
    command.chmod(0o755)
    (folder / "bin" / "python").unlink(missing_ok=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    told = {"GITHUB_OUTPUT": folder / "output", "GITHUB_STEP_SUMMARY": folder / "summary"}
    for path in told.values():
        path.write_text("")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | wanted | {key: str(path) for key, path in told.items()}
        | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
    )  # fmt: skip
    lines = (folder / "output").read_text().splitlines()
    return done, dict(line.split("=", 1) for line in lines), (folder / "summary").read_text()


@pytest.mark.slow
def test_the_action_runs_as_it_is(tmp_path: Path) -> None:
    options = "\n".join(
        ("--suite", "core", "prompts=embedded", "evaluation.max_tokens=32", "test_examples=8")
    )
    done, told, card = run_action(tmp_path, base="embedded", new="embedded", options=options)
    assert done.returncode == 0, done.stderr
    assert told["verdict"] == "unclear" and told["keep"].endswith("embedded")
    assert card.startswith("### Holdfast: nothing was shown to be forgotten")
    ElementTree.parse(tmp_path / "holdfast-check" / "junit.xml")

    # What is forgotten fails the step, with the card written all the same; wrong input fails it without one.
    export_two(tmp_path)
    done, told, card = run_action(tmp_path, base="old", new="new", options="")
    assert done.returncode == 3, done.stderr
    assert told["verdict"] == "forgotten" and told["keep"] == "model"
    assert "❌" in card
    wrong, told, card = run_action(tmp_path, base="old", new="new", options="--strict\n--max-drop 2")
    assert wrong.returncode == 2 and told == {}
    assert "::error::options: '--max-drop 2' holds two arguments; write each on a line" in wrong.stdout
    wrong, told, card = run_action(tmp_path, base="nowhere", new="$(touch broken)", options="--suite\ncore")
    assert wrong.returncode == 2 and told == {} and card == ""
    assert not (tmp_path / "broken").exists()


def export_two(folder: Path) -> None:
    from holdfast.checkpoints.folder import export

    export([answers(np.ones(100))], folder / "old")
    export([answers(np.zeros(100))], folder / "new")


def test_no_input_of_the_action_is_pasted_into_a_script() -> None:
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]
    assert {name for name, spec in action["inputs"].items() if spec.get("required")} == {"base", "new"}
