"""The pilot bar: when it stops a run, what it says, and that the rest is the same with and without it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import holdfast
from cli_helpers import Call
from experiment_helpers import make_experiment, write_config
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment.pilot import failing, pilot_of
from holdfast.experiment.plan import make_plan


def results(*right: int, items: int = 100) -> SimpleNamespace:
    """Of one run whose first task has so many of its items right at the base and after each stage."""
    cells = {
        (stage, "first"): [{"score": float(item < count)} for item in range(items)]
        for stage, count in enumerate(right)
    }
    return SimpleNamespace(sequence=("first", "next"), runs=[SimpleNamespace(method="grpo", cells=cells)])


def test_what_passes_and_what_does_not() -> None:
    assert failing(results(40, 90, 70)) is None
    assert failing(results(40, 41, 20)) == (
        "grpo did not learn first in its stage "
        "(40.0 before, 41.0 after, change +1.0 [-2.0, +4.0] on 100 items)"
    )
    assert str(failing(results(40, 20, 10))).startswith("grpo did not learn first")
    assert str(failing(results(40, 90, 90))).startswith("grpo forgot nothing of first while it learned next")
    assert str(failing(results(40, 90, 95))).startswith("grpo forgot nothing of first")
    assert str(failing(results(2, 5, 3, items=6))).startswith("grpo did not learn")  # too few items


def test_the_pilot_is_the_start_of_the_whole(tmp_path: Path) -> None:
    whole = make_experiment(
        tmp_path, sequence=["reading", "counting", "tissue"], seeds=[3, 4], reference="grpo",
        orders={"other": ["tissue", "reading", "counting"]},
        methods={"sft": {"objective": "sft"}, "grpo": {"objective": "grpo", "order": "other"}},
    )  # fmt: skip
    first = pilot_of(whole)
    assert (first.sequence, first.seeds, set(first.methods)) == (("tissue", "reading"), (3,), {"grpo"})
    assert make_plan(first).jobs.keys() < make_plan(whole).jobs.keys()


def test_the_first_method_in_sequence_stands_for_a_reference(tmp_path: Path) -> None:
    joint = {"objective": "grpo", "joint": True}
    both = make_experiment(tmp_path, methods={"joint": joint, "sft": {"objective": "sft"}})
    assert set(pilot_of(both).methods) == {"sft"}
    with pytest.raises(InputError, match="pilot: needs a method that learns two tasks in sequence"):
        pilot_of(make_experiment(tmp_path, methods={"joint": joint}))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_run_stops_and_goes_on_when_told_to(tmp_path: Path, call: Call) -> None:
    config = write_config(
        tmp_path,
        {
            "pilot": True, "seeds": [0, 1], "methods": {"sft": {"objective": "sft"}}, "train_examples": 4,
            "defaults": {"iterations": 1, "batch": 2, "learning_rate": 1e-9},
        },
    )  # fmt: skip
    said = call("run", config)
    assert said.code == 3
    assert "Stopped at the pilot bar: sft did not learn reading in its stage" in " ".join(said.err.split())
    assert not (tmp_path / "out" / "report").exists()
    with pytest.raises(HoldfastError, match=r"Stopped at the pilot bar: .* With pilot=false it goes on"):
        holdfast.run(config)
    assert call("run", config, "--no-pilot").code == 0
    assert (tmp_path / "out" / "report" / "index.html").is_file()
