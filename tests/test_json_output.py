"""What a script reads: JSON alone on stdout, exit codes, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import Call, Said
from experiment_helpers import write_config
from holdfast import __version__
from holdfast.files import read_jsonl

SMALL: dict[str, Any] = {
    "general": [],
    "sequence": ["reading"],
    "train_examples": 8,
    "test_examples": 4,
    "methods": {"sft": {"objective": "sft"}},
}


def value(said: Said) -> Any:
    """Stdout, which must be JSON and nothing else."""
    assert said.code == 0, said.err
    return json.loads(said.out)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_an_experiment_from_plan_to_store(tmp_path: Path, call: Call) -> None:
    config = write_config(tmp_path, SMALL)
    plan = value(call("plan", config, "--json"))
    assert plan["to_do"] == len(plan["jobs"]) == 3 and not any(job["done"] for job in plan["jobs"])
    assert plan["memory_bytes"] > 0 and plan["seconds"] > 0
    assert plan["resolves"] == pytest.approx({"task": 2.8016 * (0.2 / 4) ** 0.5}, rel=1e-4)
    more = ("sequence=[reading, photos]", "test_examples={reading: 16, photos: 48}")
    resolves = value(call("plan", config, "--json", *more))["resolves"]
    means = {"task": 2.8016 * (0.2 / 16) ** 0.5, "avg_acc": 2.8016 * (0.2 / 48) ** 0.5}
    assert resolves == pytest.approx(means, rel=1e-4)

    ran = call("run", config, "--json")
    assert "3 jobs to do" in ran.err
    said = value(ran)
    assert said["done"] == 3 and said["failed"] == {} and Path(said["report"]).is_file()
    assert len(read_jsonl(Path(said["index"]))) == 3 and Path(said["tables"]).is_dir()

    reported = value(call("report", tmp_path / "out", "--json"))
    assert reported["report"] == said["report"] and reported["whole"]

    stored = value(call("store", "--store", tmp_path / "store", "--json"))
    assert sorted(one["kind"] for one in stored["results"]) == ["evaluate", "evaluate", "learn"]
    assert stored["bytes"]["damaged"] == 0
    assert (
        "learn: 1 result," in call("store", "--store", tmp_path / "store").out
    )  # the next one is for people


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_code_of_the_users_may_print(tmp_path: Path, call: Call) -> None:
    (tmp_path / "rules.py").write_text(
        "print('imported')\ndef score(response, example):\n    print('scored')\n    return 1.0\n"
    )
    config = write_config(tmp_path, SMALL | {"tasks": {}})
    rows = [{"prompt": f"what {n} ?", "answer": "red"} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = ["tasks.mine.train=rows.jsonl", "tasks.mine.test=rows.jsonl", "tasks.mine.scorer=rules.py:score"]
    own.append("sequence=[mine]")
    planned = call("plan", config, "--json", *own)
    assert value(planned)["to_do"] == 3 and "imported" in planned.err
    ran = call("run", config, "--json", *own)
    assert value(ran)["done"] == 3 and "scored" in ran.err
    assert "Report:" in call("report", tmp_path / "out").out  # what follows is printed as before


def test_tasks_with_their_sizes(call: Call) -> None:
    (reading,) = (task for task in value(call("tasks", "--json")) if task["task"] == "reading")
    assert {"train", "test"} <= set(reading["sizes"]) and reading["scorer"]


def test_a_checkpoint_and_a_comparison(tmp_path: Path, call: Call) -> None:
    asked = ["--tasks", "reading", "test_examples=4", "prompts=embedded", "evaluation.max_tokens=16"]
    asked.append(f"store={tmp_path / 'store'}")
    said = value(call("evaluate", "embedded", *asked, "--out", tmp_path / "old", "--json"))
    assert read_jsonl(Path(said["records"]) / "reading.jsonl")
    (row,) = said["tables"][0]["rows"]
    assert row["items"] == 4 and {"value", "low", "high"} <= set(row["accuracy"])
    noted = json.loads((tmp_path / "old/records/reading.json").read_text())
    assert noted["setting"]["versions"]["holdfast"] == __version__  # provenance of the records

    compared = value(call("check", tmp_path / "old", tmp_path / "old", "--out", tmp_path / "same", "--json"))
    assert compared["forgotten"] == [] and compared["unclear"] + compared["kept"] == ["reading"]
    assert Path(compared["flips"]).is_file() and compared["rows"]


@pytest.mark.slow
def test_a_shell_completes_commands() -> None:
    for shell, marks in {
        "bash": {"COMP_WORDS": "holdfast ev", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "holdfast ev"},
    }.items():
        code = "import sys; sys.argv = ['holdfast']; from holdfast.cli import main; main()"
        environment = os.environ | marks | {"_HOLDFAST_COMPLETE": f"complete_{shell}"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert "evaluate" in done.stdout, done.stderr
