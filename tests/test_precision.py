"""Steps that the weights cannot hold are told before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cli_helpers import Call
from experiment_helpers import make_experiment, write_config
from holdfast.experiment.precision import rounded_away
from holdfast.weights import sample_weights

TINY_STEPS = "less than half a unit in the last place"


def said(folder: Path, rate: float, dtype: str = "float32", **method: Any) -> list[str]:
    methods = {"m": {"objective": "sft", "learning_rate": rate, "iterations": 4} | method}
    return list(rounded_away(make_experiment(folder, methods=methods, model={"dtype": dtype})))


def test_the_first_numbers_of_every_matrix(tmp_path: Path) -> None:
    matrix = torch.arange(12.0).view(3, 4)
    tensors = {
        "a": matrix,
        "b": matrix.bfloat16() + 100,
        "c": matrix.half() + 200,
        "vector": matrix[0].clone(),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    sampled = sample_weights(tmp_path / "model.safetensors", most=2)
    assert sampled.dtype == np.float32
    assert sorted(sampled.tolist()) == [0, 1, 100, 101, 200, 201]


def test_rates_that_float32_holds_and_does_not_hold(tmp_path: Path) -> None:
    """The embedded model's weights are mostly between 0.01 and 0.1: half a unit is about 1e-9."""
    assert said(tmp_path, 1e-6) == []
    (text,) = said(tmp_path, 1e-11)
    assert "Method m: its steps of about 1e-11" in text
    assert TINY_STEPS in text


@pytest.mark.parametrize("state", ["float32", "compact", "kahan"])
def test_a_stage_in_bfloat16_must_add_up_to_something(tmp_path: Path, state: str) -> None:
    """Half a unit in bfloat16 is about 1e-4 here: 4 steps of 1e-6 vanish when saved, 4,000 do not."""
    (text,) = said(tmp_path, 1e-6, "bfloat16", optimizer_state=state)
    assert "4 steps, together at most about 4e-06" in text
    assert "model.dtype=float32" in text
    assert said(tmp_path, 1e-6, "bfloat16", optimizer_state=state, iterations=4000) == []
    assert said(tmp_path, 1e-3, "bfloat16", optimizer_state=state) == []


def test_what_kahan_summation_itself_cannot_hold(tmp_path: Path) -> None:
    assert "its steps of about 1e-08" in said(tmp_path, 1e-8, "bfloat16", optimizer_state="kahan")[0]
    assert "together at most" in said(tmp_path, 1e-8, "bfloat16")[0]


@pytest.mark.slow
def test_plan_and_run_say_it(call: Call, tmp_path: Path) -> None:
    methods = {"m": {"objective": "sft", "learning_rate": 1e-11, "iterations": 1}}
    config = write_config(tmp_path, {"methods": methods, "sequence": ["reading"], "general": []})
    for command in ("plan", "run"):
        told = call(command, config)
        assert told.code == 0
        assert TINY_STEPS in told.err
