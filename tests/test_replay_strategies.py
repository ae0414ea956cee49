"""Strategies by replay and in function space: their rules worked by hand, and what all of them must do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from experiment_helpers import make_experiment, run_here
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.files import read_jsonl
from holdfast.learning.loop import learn
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from test_learning import grpo, items_of, sft, stage_of, weights

NEW, OLD = items_of("photos", 16), {"reading": items_of("reading", 8), "counting": items_of("counting", 8)}

# Of each kind: the way of learning it is tried with, and its settings.
EVERY: dict[str, tuple[Any, dict[str, Any]]] = {
    "der": (sft, {"entries": 4, "buffer": 6, "replayed": 3}),
    "der_rft": (grpo, {"kind": "der", "entries": 4, "match": "kl", "buffer": 6, "replayed": 3}),
    "opr": (sft, {"buffer": 24, "max_tokens": 16, "temperature": 1.0}),
    "cpr": (grpo, {"least": 0, "most": 1, "cooldown": 0, "retest": 0.5}),
    "remind": (grpo, {"first": 1}),
    "holdfast": (grpo, {"average": 0.5, "answers": 2}),
    "holdfast_sft": (sft, {"kind": "holdfast", "answers": 2}),
    "lwf": (sft, {}),
    "kl_old": (grpo, {}),
    "opd": (grpo, {}),
    "mcpo": (grpo, {"delta": 0.0}),
    "mcpo_updates": (grpo, {"kind": "mcpo", "delta": 0.0}),
    "rapo": (grpo, {}),
}


def method_of(case: str) -> Any:
    make, settings = EVERY[case]
    changes = {"updates": 2} if case == "mcpo_updates" else {}
    return make(batch=8, retention={"kind": case} | settings, **changes)


@pytest.mark.parametrize("case", EVERY)
def test_a_killed_stage_with_a_strategy_goes_on_to_the_same_bits(case: str, tmp_path: Path) -> None:
    """The first stage works, what it leaves is taken up by the second, and that resumes to the same bits."""
    method = method_of(case)

    def stage(name: str, left: Any, earlier: Any, items: Any, die_at: int | None = None) -> Any:
        policy = Policy.load("embedded", ModelSettings())

        def on_step(done: int, total: int, row: Any) -> None:
            if done == die_at:
                raise KeyboardInterrupt

        made = stage_of(policy, method, items, 5, inherited=left, earlier=earlier, stream=("test", items[0][0].name))
        totals, left = learn(made, folder=tmp_path / name, checkpoint_every=2, on_step=on_step)
        return weights(policy), left, totals

    _, left, _ = stage("first", {}, {}, OLD["reading"])
    earlier = {"reading": OLD["reading"]}
    whole, after, totals = stage("whole", left, earlier, NEW)
    with pytest.raises(KeyboardInterrupt):
        stage("killed", left, earlier, NEW, die_at=3)
    resumed, after_kill, again = stage("killed", left, earlier, NEW)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert totals["flops"] == again["flops"]
    for strategy, tensors in after.items():
        assert all(torch.equal(tensors[name], after_kill[strategy][name]) for name in tensors)
    rows = read_jsonl(tmp_path / "whole" / "metrics.jsonl")
    assert any(row.get(f"{method.retention[0].name}_share", 0) > 0 for row in rows)
