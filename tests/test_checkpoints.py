"""`holdfast evaluate` and `holdfast check` on models of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from holdfast.checkpoints.evaluation import Answers

from cli_helpers import Call
from holdfast import files
from holdfast.checkpoints import comparison, evaluation
from holdfast.checkpoints.comparison import ALL, Comparison
from holdfast.errors import InputError
from holdfast.forgetting import evaluate
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings

OPTIONS = ("--prompts", "embedded", "--max-tokens", 32, "--examples", 40)


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has forgotten: the embedded one with its last layer switched off."""
    import torch

    policy = Policy.load("embedded", ModelSettings())
    with torch.no_grad():
        for parameter in policy.model.model.language_model.layers[-1].parameters():
            parameter.zero_()
    folder = tmp_path_factory.mktemp("models") / "hurt"
    policy.save(folder)
    return folder


def test_evaluate(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": "find the perimeter of the figure", "answer": "12"} for _ in range(3)]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "out"
    command = ("evaluate", "embedded", "--tasks", "presence,mine", "--data", f"mine={data}:number", *OPTIONS)
    said = call(*command, "--out", folder)
    assert said.code == 0, said.err
    assert "presence: 100.0 of 100 on 40 examples" in said.out
    records = files.read_jsonl(folder / "records" / "presence.jsonl")
    assert len(records) == 40
    assert {"id", "prompt", "response", "answer", "reference", "score", "format", "tokens"} <= set(records[0])
    assert "| presence | 40 | 100.0" in (folder / "summary.md").read_text()
    summary = files.read_json(folder / "summary.json")
    assert [row["items"] for row in summary["rows"]] == [40, 3]
    assert summary["rows"][0]["accuracy"]["low"] < 1

    # Again: nothing is asked, the model is not even loaded.
    with monkeypatch.context() as context:
        context.setattr(Policy, "load", None)
        again = call(*command, "--out", folder)
    assert again.code == 0, again.err
    assert again.out.count("(done ") == 2

    # Changed data and damaged records are asked again, and nothing else.
    data.write_text(data.read_text().replace("12", "13"))
    changed = call(*command, "--out", folder)
    assert changed.out.count("(done ") == 1
    path = folder / "records" / "presence.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    repaired = call(*command, "--out", folder)
    assert repaired.out.count("(done ") == 1
    assert path.read_bytes() == whole
    assert call(*command, "--out", folder, "--again").out.count("(done ") == 0

    # The folder belongs to this model.
    other = tmp_path / "other"
    Policy.load("embedded", ModelSettings()).save(other)
    refused = call("evaluate", other, "--tasks", "presence", *OPTIONS, "--out", folder)
    assert refused.code == 2
    assert "choose another folder with --out" in refused.err


def test_a_task_goes_on_after_its_last_batch(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = evaluate.roll_out, []

    def roll_out(policy: Policy, items: Any, **names: Any) -> Any:
        asked.append(items[0][1].id)
        if len(asked) == stop:
            raise KeyboardInterrupt
        return real(policy, items, **names)

    monkeypatch.setattr(evaluate, "roll_out", roll_out)
    command = ("evaluate", "embedded", "--tasks", "presence", *OPTIONS, "--batch", 8, "--temperature", 1)
    stop = 0
    assert call(*command, "--out", tmp_path / "whole").code == 0
    whole = (tmp_path / "whole" / "records" / "presence.jsonl").read_bytes()
    batches = asked.copy()
    assert len(batches) == 5
    asked.clear()
    stop = 4
    stopped = call(*command, "--out", tmp_path / "out")
    assert stopped.code == 130
    assert "goes on from here" in stopped.err
    asked.clear()
    stop = 0
    assert call(*command, "--out", tmp_path / "out").code == 0
    assert asked == batches[3:]
    assert (tmp_path / "out" / "records" / "presence.jsonl").read_bytes() == whole
    assert len(list((tmp_path / "out" / "records").iterdir())) == 2


def test_a_task_that_fails_leaves_those_before_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"prompt": "red " * 600, "answer": "red"}) + "\n")
    command = ("evaluate", "embedded", "--tasks", "presence", "--data", f"long={long}", *OPTIONS)
    said = call(*command, "--out", tmp_path / "out")
    assert said.code == 2
    assert "more than the context" in said.err
    assert {path.name for path in (tmp_path / "out" / "records").iterdir()} == {
        "presence.json",
        "presence.jsonl",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("embedded",), "Say which tasks"),
        (("embedded", "--tasks", "measures"), "say with --examples how many"),
        (("embedded", "--tasks", "raeding", *OPTIONS), "did you mean 'reading'"),
        (("embedded", "--tasks", "measures,measures", *OPTIONS), "more than once"),
        (("embedded", "--tasks", "measures", "--style", "cto", *OPTIONS), "--style must be cot or direct"),
        (("embedded", "--tasks", "measures", "--model", "dtpye=x", *OPTIONS), "KEY=VALUE"),
        (("embedded", "--tasks", "measures", "--model", "dtype=int8", *OPTIONS), "--model dtype"),
        (("embedded", "--data", "x=nowhere.jsonl", *OPTIONS), "no file nowhere.jsonl"),
        (("embedded", "--data", "a/b=nowhere.jsonl", *OPTIONS), "must be NAME=FILE.jsonl"),
        (("nowhere", "--tasks", "measures", *OPTIONS), "There is no model 'nowhere'"),
        (("--tasks", "measures", *OPTIONS), "Give either MODEL"),
        (("--endpoint", "http://127.0.0.1:1", "--tasks", "measures", *OPTIONS), "--served-model"),
    ],
)
def test_evaluate_refuses(call: Call, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    said = call("evaluate", *arguments, "--out", tmp_path / "out")
    assert said.code == 2
    assert message in said.err
    assert not (tmp_path / "out").exists()


def test_adapters(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    adapters = tmp_path / "adapters"
    Policy.load("embedded", ModelSettings(lora=Lora())).save(adapters)
    command = ("evaluate", adapters, "--tasks", "presence", *OPTIONS, "--out", tmp_path / "out")
    assert "--model path=MODEL" in call(*command).err
    said = call(*command, "--model", "path=embedded")
    assert said.code == 0, said.err
    assert "presence: 100.0 of 100" in said.out


def test_check(call: Call, tmp_path: Path, hurt: Path) -> None:
    out = tmp_path / "out"
    command = ("check", "embedded", hurt, "--tasks", "presence,measures", *OPTIONS, "--out", out)
    said = call(*command)
    assert said.code == 3, said.err
    assert "Forgotten: presence, measures, all tasks." in said.out
    flips = files.read_jsonl(out / "flips.jsonl")
    facts = files.read_json(out / "comparison.json")
    assert facts["forgotten"] == ["presence", "measures", ALL]
    assert len(flips) == facts["rows"][2]["lost"] + facts["rows"][2]["gained"]
    first = flips[0]
    assert (first["task"], first["flip"]) == ("presence", "1→0")
    assert first["before"]["score"] > first["after"]["score"]
    assert "| presence | 40 | 100.0 |" in (out / "comparison.md").read_text()
    assert call(*command).out.count("(done ") == 4

    # The folders that were written are compared like the models; the same one forgot nothing.
    before, after = out / "before", out / "after"
    assert call("check", before, after, "--out", tmp_path / "folders").code == 3
    same = call("check", before, before, "--out", tmp_path / "same")
    assert same.code == 0
    assert "Nothing was shown to be forgotten. Unclear: measures, presence" in same.out
    # 40 items cannot show that no more than a point was lost; they can for 20 points.
    strict = ("check", before, "embedded", "--tasks", "presence", *OPTIONS, "--strict", "--out", out / "s")
    assert call(*strict).code == 3
    assert call(*strict, "--max-drop", 20).code == 0
    # A fall that is allowed is none.
    assert call("check", before, after, "--max-drop", 100, "--out", tmp_path / "any").code == 0

    for wrong, message in (
        (("check", before, after, "--tasks", "facts"), "no records of facts; it has measures, presence"),
        (("check", before, tmp_path), "neither a model's folder"),
        (("check", before), "Give either NEW"),
        (("check", before, "embedded", "--tasks", "presence", "--prompts", "embedded", "--examples", 20),
         "examples is 40 in the folder and 20 now"),
    ):  # fmt: skip
        refused = call(*wrong, "--max-tokens", 32, "--out", tmp_path / "wrong")
        assert refused.code == 2, refused
        assert message in refused.err
    assert not (tmp_path / "wrong").exists()
    path = before / "records" / "presence.jsonl"
    path.write_text(path.read_text().replace('"score": 1.0', '"score": 0.0', 1))
    assert "not what was written" in call("check", before, after, "--out", tmp_path / "wrong").err


def answers(task: str, scores: Any, **inputs: Any) -> Answers:
    records = [
        {"id": str(i), "prompt": "?", "reference": "1", "response": "", "answer": "1", "score": float(score),
         "lenient": 1.0, "format": 1.0, "tokens": None, "finished": True, "meta": {}}
        for i, score in enumerate(scores)
    ]  # fmt: skip
    return Answers(task, "model", {"task": task, **inputs}, records, 0.0, "")


def compare(before: Any, after: Any, max_drop: float = 0.01, level: float = 0.95) -> Comparison:
    return comparison.compare([answers("t", before)], [answers("t", after)], max_drop=max_drop, level=level)


def test_verdicts() -> None:
    ones, zeros = np.ones(1000), np.zeros(1000)

    def lost(count: int) -> Any:
        return np.where(np.arange(1000) < count, 0.0, 1.0)

    def verdict(after: Any, **options: float) -> str:
        return compare(ones, after, **options).rows[0].verdict

    assert verdict(ones) == "kept"
    assert verdict(lost(3)) == "kept"
    assert verdict(lost(9)) == "unclear"  # less than a point, but it might be more
    assert verdict(lost(12)) == "forgotten"
    assert verdict(lost(12), max_drop=0.05) == "kept"
    assert verdict(lost(12), level=0.9999) == "unclear"
    assert compare(zeros, ones).rows[0].verdict == "kept"
    # Five of ten lost is much, and little to go by; without a fall in the mean nothing is forgotten.
    assert compare([1] * 5 + [0] * 5, [0] * 5 + [0] * 5).rows[0].verdict == "unclear"
    soft = compare([0.6] * 50, [0.4] * 25 + [1.0] * 25)
    assert soft.rows[0].change.lost == 25
    assert soft.rows[0].verdict != "forgotten"
    assert {flip["lost"] for flip in soft.flips} == {"convention"}


def test_false_alarms_do_not_grow_with_the_number_of_tasks() -> None:
    """Ten tasks of 300 items on which both checkpoints are equally good and disagree on a fifth."""
    generator = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        before, after = [], []
        for task in range(10):
            flip = generator.choice(3, size=300, p=[0.8, 0.1, 0.1])
            before.append(answers(f"t{task}", np.where(flip == 1, 1.0, 0.0)))
            after.append(answers(f"t{task}", np.where(flip == 2, 1.0, 0.0)))
        found = comparison.compare(before, after, max_drop=0.0, level=0.95)
        alarms += bool(found.named("forgotten"))
    assert alarms <= 60 * 0.1


def test_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="style is 'cot' before and 'direct' after"):
        comparison.compare(
            [answers("t", [1], style="cot")], [answers("t", [1], style="direct")], max_drop=0.01, level=0.95
        )
    other = answers("t", [1])
    other.records[0]["reference"] = "2"
    with pytest.raises(InputError, match="not the same question"):
        comparison.compare([answers("t", [1])], [other], max_drop=0.01, level=0.95)


def test_summary_without_token_counts() -> None:
    row = evaluation.summary([answers("t", [1, 0])]).rows[0]
    assert row["tokens"] is None
    assert row["lenient"] == 1.0
