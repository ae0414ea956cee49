"""What a run warns of: once, however many jobs and processes meet it, and in the words of its cause."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli_helpers import Call
from experiment_helpers import make_experiment
from holdfast.experiment import jobs
from holdfast.experiment.plan import Job, make_plan
from holdfast.experiment.progress import Progress
from holdfast.experiment.run import run as run_plan
from holdfast.experiment.store import Store
from holdfast.learning.curve import nothing_right


def test_a_warning_of_every_job_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = make_experiment(tmp_path, methods={"sft": {"objective": "sft"}}, general=[])
    plan, text = make_plan(experiment), io.StringIO()
    run = jobs.Runner.run

    def warning(self: jobs.Runner, *arguments: Any) -> float:
        logging.getLogger("holdfast.policy.policy").warning("The pass is %s.", "slow")
        return run(self, *arguments)

    monkeypatch.setattr(jobs.Runner, "run", warning)
    progress = Progress(Console(file=text, width=200))
    outcome = run_plan(experiment, plan, Store(experiment.store), 1, progress)
    assert outcome.done > 2 and not outcome.failed
    assert text.getvalue().count("The pass is slow.") == 1
    assert logging.getLogger("holdfast").handlers == []


def test_what_several_jobs_are_warned_of_is_told_with_its_cure_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make_experiment(tmp_path, methods={"sft": {"objective": "sft"}}, general=[])
    plan, text = make_plan(experiment), io.StringIO()
    run = jobs.Runner.run

    def warning(self: jobs.Runner, job: Job, *arguments: Any) -> float:
        logging.getLogger("holdfast").warning("%s: %s", job.label, "it learned nothing. Begin with SFT.")
        return run(self, job, *arguments)

    monkeypatch.setattr(jobs.Runner, "run", warning)
    progress = Progress(Console(file=text, width=200))
    outcome = run_plan(experiment, plan, Store(experiment.store), 1, progress)
    said = text.getvalue()
    assert outcome.done == len(plan.jobs) and said.count("Begin with SFT.") == 1
    assert all(f"{job.label}: it learned nothing." in said for job in plan.jobs.values())


ROW = {"reward": 0.0, "accuracy": 0.0}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROW, ROW], "no completion was right in any of 2 iterations, so it learned nothing"),
        ([ROW, {**ROW, "reward": 0.1}], "in any of 2 iterations, so it learned form alone"),
        (
            [ROW, {**ROW, "reward": 0.1, "reward.brevity": 0.5}],
            "so it learned at most what the other parts of",
        ),
        ([ROW, {**ROW, "accuracy": 0.1}], None),
        ([{"loss": 1.0}], None),  # SFT
        ([], None),
    ],
)
def test_a_stage_in_which_nothing_was_right_says_so(rows: list[dict[str, float]], said: str | None) -> None:
    found = nothing_right(rows)
    assert found is None if said is None else said in str(found)


def test_the_embedded_model_is_asked_in_other_words_with_a_warning(tmp_path: Path, call: Call) -> None:
    options = ("--tasks", "presence", "test_examples=4", "evaluation.max_tokens=8", f"store={tmp_path / 's'}")
    said = call("evaluate", "embedded", *options, "--out", tmp_path / "a")
    assert said.code == 0 and "without prompts=embedded it is mostly wrong" in said.err
    said = call("evaluate", "embedded", *options, "prompts=embedded", "--out", tmp_path / "b")
    assert said.code == 0 and "prompts=embedded" not in said.err
