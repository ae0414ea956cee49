"""Strategies by replay and in function space: what all of them must do, and what they are made of."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from experiment_helpers import learn_here, make_experiment
from holdfast.errors import HoldfastError
from holdfast.files import read_jsonl
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.loop import learn
from holdfast.learning.methods import make_method
from holdfast.learning.retention.answers import answers_of, as_groups, gradient_of, join, keep_answers, taken
from holdfast.learning.retention.pool import keep_table, key_of, mixed, table
from holdfast.policy.batch import Completions
from holdfast.policy.gradients import flat, trained_parameters
from holdfast.tasks.prompts import TEMPLATES
from replay_helpers import NEW, OLD, loaded, logprobs
from test_learning import grpo, sft, stage_of, weights

TEXTS = str(Path(__file__).with_name("texts.txt"))

# Of each kind: the way of learning it is tried with, and its settings.
EVERY: dict[str, tuple[Any, dict[str, Any]]] = {
    "er": (grpo, {"share": 0.3}),
    "forever": (sft, {"day": 1}),
    "der": (sft, {"entries": 4, "buffer": 6, "replayed": 3}),
    "der_rft": (grpo, {"kind": "der", "entries": 4, "match": "kl", "buffer": 6, "replayed": 3}),
    "opr": (sft, {"buffer": 24, "max_tokens": 16, "temperature": 1.0}),
    "cpr": (grpo, {"least": 0, "most": 1, "cooldown": 0, "retest": 0.5}),
    "remind": (grpo, {"first": 1}),
    "holdfast": (grpo, {"average": 0.5, "answers": 2}),
    "holdfast_sft": (sft, {"kind": "holdfast", "answers": 2}),
    "rad": (grpo, {"examples": 3}),
    "rad_texts": (sft, {"kind": "rad", "texts": TEXTS, "examples": 3, "to": "stage_start"}),
    "lwf": (sft, {}),
    "asft": (sft, {}),
    "tmkl": (sft, {"to": "stage_start"}),
    "finch": (sft, {"kappa": 1e-4}),
    "flow": (sft, {}),
    "chord": (grpo, {}),
    "kl_old": (grpo, {}),
    "opd": (grpo, {}),
    "mcpo": (grpo, {"delta": 0.0}),
    "mcpo_updates": (grpo, {"kind": "mcpo", "delta": 0.0}),
    "rapo": (grpo, {}),
}
CHANGES: dict[str, dict[str, Any]] = {
    "mcpo_updates": {"updates": 2},
    "asft": {"loss": "dft"},
    "remind": {"batch": 8},  # the first stage masters every prompt twice
}  # of the method


def settings_of(case: str) -> dict[str, Any]:
    return {"kind": case} | EVERY[case][1]


def method_of(case: str) -> Any:
    return EVERY[case][0](**{"batch": 4, "retention": settings_of(case)} | CHANGES.get(case, {}))


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY)
def test_a_killed_stage_with_a_strategy_goes_on_to_the_same_bits(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first stage works, what it leaves is taken up by the second, and that resumes to the same bits.

    What lies on the disk at its third step is what a kill would leave.
    """
    method = method_of(case)

    def stage(name: str, left: Any, earlier: Any, items: Any) -> Any:
        policy = loaded()

        def on_step(done: int, total: int, row: Any) -> None:
            if name == "whole" and done == 3:
                shutil.copytree(tmp_path / "whole", tmp_path / "killed")

        task = items[0][0].name
        iterations = 4 if earlier else 2
        one = stage_of(
            policy, method, items, iterations, inherited=left, earlier=earlier, stream=("test", task)
        )
        totals, left = learn(one, folder=tmp_path / name / "work", checkpoint_every=2, on_step=on_step)
        return weights(policy), left, totals

    _, left, _ = stage("first", {}, {}, OLD["reading"])
    earlier = {"reading": OLD["reading"]}
    whole, after, totals = stage("whole", left, earlier, NEW)
    resumed, after_kill, again = stage("killed", left, earlier, NEW)
    assert not caplog.messages  # the checkpoint was taken up
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert totals["flops"] == again["flops"]
    for strategy, tensors in after.items():
        assert all(torch.equal(tensors[name], after_kill[strategy][name]) for name in tensors)
    rows = read_jsonl(tmp_path / "whole" / "work" / "metrics.jsonl")
    assert any(row.get(f"{method.retention[0].name}_share", 0) > 0 for row in rows)


@pytest.mark.slow
def test_all_of_them_run_through_plan_and_store(tmp_path: Path) -> None:
    """Two stages each; and self-distillation, which is a way of learning."""
    methods: dict[str, Any] = {
        case: {"objective": "sft" if make is sft else "grpo", "iterations": 1, "retention": settings_of(case)}
        | CHANGES.get(case, {})
        for case, (make, _) in EVERY.items()
        if case != "mcpo_updates"
    }
    methods["sdft"] = {"objective": "sdft", "iterations": 1}
    experiment = make_experiment(tmp_path, methods=methods, general=[], train_examples=8, test_examples=1)
    plan, store = learn_here(experiment)
    for chain in plan.chains:
        rows = store.rows(plan.jobs[chain.learn[1]], "metrics.jsonl")
        assert [row["skipped"] for row in rows] == [0]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("asft", {"objective": "sft"}, "loss: dft"),
        ("asft", {"objective": "grpo"}, "loss: dft"),
        *(("tmkl", {"objective": name}, "use it with objective: sft") for name in ("grpo", "sdft")),
        *(
            (kind, {"objective": "sft"}, "graded answers")
            for kind in ("cpr", "remind", "kl_old", "opd", "mcpo")
        ),
        ("chord", {"objective": "sft"}, "use it with RFT"),
        (
            {"kind": "chord", "target": "reasoned"},
            {"objective": "grpo", "style": "direct"},
            "needs style: cot",
        ),
        ("kl_old", {"objective": "grpo", "kl_coef": 0.1}, "leave kl_coef out"),
        *(
            (kind, {"objective": "grpo", "drop_zero_variance": True, "refills": 1}, "leave refills out")
            for kind in ("kl_old", "opd", "mcpo", "cpr", "remind")
        ),
        ("rapo", {"objective": "rloo"}, "use objective: grpo"),
        ("rapo", {"objective": "grpo", "positives_only": True}, "without positives_only"),
        ("mcpo", {"objective": "rloo"}, "level: false"),
        ("der", {"objective": "sdft"}, "sdft grades none"),
        ("holdfast", {"objective": "sdft"}, "sdft grades none"),
        ("holdfast", {"objective": "grpo", "joint": True}, "a joint method has no earlier tasks"),
    ],
)
def test_what_a_strategy_lacks_is_said_before_any_work(
    kind: str | dict[str, str], changes: dict[str, Any], message: str
) -> None:
    given = kind if isinstance(kind, dict) else {"kind": kind}
    with pytest.raises(ValidationError, match=message):
        make_method(learning_rate=1e-3, retention=given, **changes)


def test_old_prompts_lie_evenly_between_new_ones() -> None:
    """So that each of 4 updates has one of 4 old ones."""
    batch = mixed(list("abcdefghijkl"), list("1234"))  # type: ignore[arg-type]
    assert [sum(one.isdigit() for one in batch[start : start + 4]) for start in (0, 4, 8, 12)] == [1, 1, 1, 1]  # type: ignore[attr-defined]
    assert "".join(one for one in batch if one.isalpha()) == "abcdefghijkl"  # type: ignore[attr-defined,misc]


def test_memory_knows_examples_by_keys_and_answers_of_any_length() -> None:
    memory: dict[str, torch.Tensor] = {}
    keep_table(memory, "rates", {})
    assert table(memory, "rates") == {} == table({}, "rates")
    keys = [key_of(item) for item in [*NEW, *OLD["reading"]]]
    assert len(set(keys)) == 24
    keep_table(memory, "rates", {key: [0.5, 3] for key in keys})
    assert table(memory, "rates") == {key: [0.5, 3] for key in keys}

    def answers(tokens: list[list[int]]) -> Any:
        mask = torch.tensor(tokens) > 0
        return Completions(torch.tensor(tokens)[:, None], mask[:, None], mask[:, :1])

    short = taken(answers([[5, 6], [7, 0]]), NEW[:2], [(1, 0), (0, 0)])
    long = taken(answers([[1, 2, 3]]), NEW[2:3], [(0, 0)])
    keep_answers(memory, join(short, {}, long))
    kept = answers_of(memory)
    assert kept["tokens"].tolist() == [[7, 0, 0], [5, 6, 0], [1, 2, 3]]
    assert kept["mask"].sum(1).tolist() == [1, 2, 3]
    assert kept["keys"].tolist() == [key_of(NEW[row]) for row in (1, 0, 2)]
    with pytest.raises(HoldfastError, match="`earlier` must hold"):
        as_groups(SimpleNamespace(policy=None, earlier={}, items=NEW[:1]), kept)  # type: ignore[arg-type]
    keep_answers(memory, {})
    assert answers_of(memory) == {}


def test_the_gradient_of_old_answers_is_that_of_one_pass_whatever_the_parts() -> None:
    policy = loaded()
    groups = Likelihood(sft(), TEMPLATES["embedded"]).collect(policy, OLD["reading"], ())
    answers = taken(groups.completions, groups.items, [(row, 0) for row in range(8)])
    found = []
    for micro_batch in (None, 3):
        stage = stage_of(policy, sft(micro_batch=micro_batch), NEW, 1, earlier=OLD)
        again = as_groups(stage, answers)
        found.append(gradient_of(stage, again, lambda part, _: -logprobs(policy, part).sum()))
        assert stage.spent["flops"] == policy.operations.training(groups.prompts, groups.completions)
    wanted = flat(-logprobs(policy, groups).sum(), trained_parameters(policy))
    for one in found:
        torch.testing.assert_close(one, wanted, rtol=1e-4, atol=1e-4)
