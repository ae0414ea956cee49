"""Every strategy that fits SFT learns from rationales (`target: reasoned`) as from answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from experiment_helpers import make_experiment
from holdfast.errors import InputError
from holdfast.files import read_jsonl
from holdfast.learning.loop import learn
from holdfast.learning.methods import make_method
from holdfast.learning.retention import KINDS
from holdfast.policy.policy import Policy
from test_learning import items_of, stage_of
from test_replay_strategies import EVERY
from test_replay_strategies import settings_of as settings_there
from test_retention_kinds import model_of
from test_retention_kinds import settings_of as settings_here

# Judged by graded answers, of which SFT has none; each says so before any work.
FOR_RFT = {"chord", "cpr", "kl_old", "mcpo", "opd", "rapo", "remind"}


def method_of(kind: str) -> Any:
    settings = settings_there(kind) if kind in EVERY else settings_here(kind)
    loss = "dft" if kind == "asft" else "nll"
    return make_method(
        objective="sft", target="reasoned", style="cot", loss=loss, learning_rate=1e-3, batch=4,
        retention=settings,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - FOR_RFT))
def test_two_stages_on_rationales(kind: str, tmp_path: Path) -> None:
    """Targets are thought and box; the second stage has an earlier task and what the first left."""
    policy, method, left = Policy.load("embedded", model_of(kind)), method_of(kind), {}
    earlier: dict[str, Any] = {}
    for task in ("reading", "counting"):
        items = items_of(task, 8)
        stage = stage_of(policy, method, items, 2, inherited=left, earlier=dict(earlier), stream=("r", task))
        _, left = learn(stage, folder=tmp_path / task, checkpoint_every=9, on_step=lambda *_: None)
        earlier[task] = items
        rows = read_jsonl(tmp_path / task / "metrics.jsonl")
        assert [row["skipped"] for row in rows] == [0, 0]
        assert all(math.isfinite(row["loss"]) and row["length"] > 5 for row in rows)  # more than a box


@pytest.mark.parametrize("kind", sorted(FOR_RFT))
def test_those_for_graded_answers_say_so(kind: str) -> None:
    with pytest.raises(ValidationError, match=f"retention: {kind} "):
        method_of(kind)


@pytest.mark.parametrize(
    "method",
    [
        {"objective": "sft", "target": "reasoned"},
        {"objective": "grpo", "retention": {"kind": "chord", "target": "reasoned"}},
    ],
)
def test_tasks_without_rationales_are_refused_before_any_work(method: dict[str, Any], tmp_path: Path) -> None:
    rows = "".join(f'{{"prompt": "What is {n}?", "answer": "{n}", "id": "{n}"}}\n' for n in range(8))
    (tmp_path / "sums.jsonl").write_text(rows)
    own = {"sums": {"train": "sums.jsonl", "test": "sums.jsonl"}}
    with pytest.raises(InputError, match="task sums has no rationales; use target: answer"):
        make_experiment(tmp_path, sequence=["sums"], tasks=own, general=[], methods={"a": method})
