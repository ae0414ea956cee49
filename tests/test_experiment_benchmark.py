"""`benchmarks/experiment.py`: Holdfast's arm does the whole at a tiny size; tables say what arms found."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import experiment
from experiment import BASE, HOLDFAST, TRL, Arm, Outcome, Sizes, accuracies, costs, interval, stored, tables
from steps.arm import Rival

SIZES = Sizes(("reading",), iterations=1, items=100)
CELLS = (BASE, 0, "reading"), ("sft", 1, "reading"), ("grpo", 1, "reading")
PARTS = {"sft: training": 1.0, "grpo: training": 4.0, "judging": 2.0, "rest": 0.5}


def arm(name: str, right: tuple[float, ...], cpu: float = 7.0) -> Arm:
    found = dict(zip(CELLS, right, strict=True))
    return Arm(Rival(name, ""), [Outcome(cpu, 7.5, 10**9, PARTS, found)])


@pytest.mark.slow
def test_holdfast_does_the_whole_and_a_table_tells(monkeypatch, capsys):
    options = ["--tasks", "reading", "--iterations", "1", "--items", "4", "--arms", "holdfast"]
    monkeypatch.setattr(sys, "argv", ["experiment.py", *options])
    monkeypatch.setattr(experiment, "TRAIN", 64)
    undrawn = "from holdfast.report import page; page.save = lambda *_: '<svg></svg>'; "
    monkeypatch.setattr(experiment, "CLI", undrawn + experiment.CLI)
    assert experiment.main() == 0
    said = capsys.readouterr().out
    assert "`python benchmarks/experiment.py " + " ".join(options) + "`" in said
    assert re.search(r"\| CPU s \| \d+\.\d \|", said)
    for part in PARTS:
        assert re.search(rf"\| {part}, wall s \| \d+\.\d \|", said)
    percent = r"(0|25|50|75|100)\.0 \[\d+\.\d, \d+\.\d\]"  # of four items
    for cell in ("base model: reading", "sft after reading: reading", r"\*\*grpo, AvgAcc\*\*"):
        assert re.search(rf"\| {cell} \| {percent} \|", said)
    assert "overlap" not in said


def test_the_interval_of_a_share():
    assert interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert interval(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert interval(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_costs_are_compared_with_the_first_arm():
    text = costs([arm(HOLDFAST, (50, 90, 95)), arm(TRL, (50, 90, 95), cpu=21.0)])
    assert "| CPU s | 7.0 | 21.0 | **3.00×** |" in text
    assert "| grpo: training, wall s | 4.0 | 4.0 | **1.00×** |" in text
    assert "| peak memory, MB | 1000 | 1000 | **1.00×** |" in text


def test_accuracies_outside_of_each_others_intervals_are_shown():
    text, agreeing, rows = accuracies([arm(HOLDFAST, (50, 90, 95)), arm(TRL, (50, 60, 95))], SIZES)
    assert (agreeing, rows) == (3, 5)  # the one cell, and the average that it is all of
    assert "| base model: reading | 50.0 [40.4, 59.6] | 50.0 [40.4, 59.6] | yes |" in text
    assert "| sft after reading: reading | 90.0 [82.6, 94.5] | 60.0 [50.2, 69.1] | **no** |" in text


def test_rounds_are_averaged():
    two = arm(HOLDFAST, (50, 90, 95))
    two.outcomes += arm(HOLDFAST, (50, 80, 85), cpu=9.0).outcomes
    assert two.accuracy("sft", 1, ("reading",), items=100) == pytest.approx(0.85)
    assert two.median("cpu") == 8.0


def test_what_became_of_an_arm_stands_before_the_tables():
    failed = Arm(Rival(TRL, ""), [], failure="exit code 1")
    text = tables([arm(HOLDFAST, (50, 90, 95)), failed], SIZES)
    assert text.startswith("TRL: exit code 1.\n\n| median of rounds | Holdfast |")
    assert tables([failed], SIZES) == "TRL: exit code 1.\n\n"


def test_jobs_in_a_store_are_read_by_their_labels(tmp_path):
    jobs = [
        ("learn", "sft seed 0 stage 1 (reading): learn", {"seconds": 3.0}),
        ("evaluate", "sft seed 0 stage 1: evaluate measures", {"seconds": 1.0, "accuracy": 0.5}),
        ("evaluate", "base: evaluate reading", {"seconds": 2.0, "accuracy": 0.25}),
    ]
    for number, (kind, label, result) in enumerate(jobs):
        folder = tmp_path / kind / str(number)
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps({"label": label}))
        (folder / "result.json").write_text(json.dumps(result | {"examples": 8}))
    seconds, right = stored(tmp_path)
    assert seconds == {"sft: training": 3.0, "judging": 3.0}
    assert right == {("sft", 1, "measures"): 4.0, (BASE, 0, "reading"): 2.0}


def test_an_arm_that_fails_is_an_error_with_its_last_words(capfd):
    broken = SIZES.experiment(seed=0) | {"sequence": ["reeding"]}
    with pytest.raises(RuntimeError, match="exit code 2"):
        experiment.run(Rival(HOLDFAST, "holdfast"), broken, limit=60)
    assert "reeding" in capfd.readouterr().err


def test_an_arm_that_takes_too_long_is_killed():
    with pytest.raises(RuntimeError, match=r"exit code -9, killed after 0\.1 s"):
        experiment.run(Rival(HOLDFAST, "holdfast"), SIZES.experiment(seed=0), limit=0.1)


def test_one_size_doubles_at_a_time():
    sizes = Sizes(("reading", "photos"), iterations=1, items=10)
    grown = sizes.doubled()
    assert grown["twice the tasks"].tasks == ("reading", "photos", "measures", "counting")
    assert grown["twice the group"].experiment(0)["methods"]["grpo"]["group_size"] == 16
    assert len(grown["twice the prompt"].experiment(0)["prompts"]["cot"].split()) == 24 + 2
    assert all(size.iterations == 1 for size in grown.values())
    with pytest.raises(SystemExit, match="at most 3"):
        experiment.more(experiment.TASKS[:4])
