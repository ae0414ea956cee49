"""The pieces of the step benchmarks: sizes that are what they say, and a floor that counts all weights."""

from __future__ import annotations

import ast
import importlib
import os
import re
import signal
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import fsdp
import interval_coverage
from steps import command, duel
from steps.arm import Failed, Rival
from steps.arm_holdfast import make_policy
from steps.duel import OURS, Course, Result, Run, race, same_work
from steps.floor import Floor, Rates, floor
from steps.tables import failures, tables
from steps.workload import SHAPES, Case, make_model, make_processor, make_rows

from holdfast.policy.settings import Sampling
from team_helpers import together

ROOT = Path(__file__).parents[1]
CASE = Case("grpo", prompts=2, group=3, completion=4, side=56)


def test_case_travels_as_text():
    assert Case.from_json(CASE.to_json()) == CASE


def test_prompts_and_completions_have_the_sizes_of_the_case():
    policy = make_policy(CASE)
    rows = make_rows(CASE, 2)
    prompts = policy.encode([row.text for row in rows], [[row.image] for row in rows])
    assert prompts.lengths_B.tolist() == [CASE.prompt_tokens] * 2 == [37, 37]
    completions = policy.sample(prompts, 3, Sampling(max_tokens=4), torch.Generator())
    assert int(completions.mask_BGR.sum()) == CASE.completion_tokens
    targets = make_policy(replace(CASE, objective="sft")).encode_completions([row.target for row in rows])
    assert targets.lengths_BG.flatten().tolist() == [4, 4]


@pytest.mark.parametrize(("shape", "billions"), [("qwen2.5-vl-3b", 3.75), ("qwen2.5-vl-7b", 8.29)])
def test_shapes_are_those_of_the_released_models(shape, billions):
    case = Case("grpo", 16, 8, 128, 868, words=32, shape=shape, device="meta")
    assert case.prompt_tokens == 1000
    small = make_processor(Case("grpo", 1, 1, 1, 56)).tokenizer
    model = make_model(case, small)
    assert isinstance(model, Qwen2_5_VLForConditionalGeneration)
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, abs=0.01)


@pytest.mark.parametrize("shape", [name for name in SHAPES if "kind" not in SHAPES[name]])
def test_the_floor_counts_every_weight(shape):
    """Bytes of the update give away how many weights the floor knows of."""
    case = Case("sft", 1, 1, 2, 56, shape=shape, device="meta")
    model = make_model(case, make_processor(Case("grpo", 1, 1, 1, 56)).tokenizer)
    weights = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    counted = floor(case, Rates(1e9, 1.0)).update / (7 * 4)
    assert counted == pytest.approx(weights, rel=1e-3)


def test_the_floor_of_training_is_three_forward_passes_of_the_text():
    text = Case("sft", 1, 1, 2, side=28)
    longer = Case("sft", 1, 1, 2, side=28, words=27)
    parts = floor(text, Rates(1.0, 1e12)), floor(longer, Rates(1.0, 1e12))
    per_token = (parts[1].train_operations - parts[0].train_operations) / 6
    layers = 3 * (128 * (128 + 128 + 128) + 3 * 128 * 256)
    assert per_token == pytest.approx(layers, rel=0.1)  # and a little attention


def test_other_work_is_refused():
    entry = {"prompt_tokens": 74, "completion_tokens": 24, "way": "packed"}
    same_work(CASE, entry)
    for change in ({"prompt_tokens": 73}, {"completion_tokens": 23}, {"way": "plain"}):
        with pytest.raises(Failed, match="did other work"):
            same_work(CASE, entry | change)


HOLDFAST, OTHER = Rival("Holdfast", OURS), Rival("TRL", "steps.arm_trl")
STEP = {"seconds": 1.0, "sample": 0.4, "train": 0.6, "peak": 10**6}
LEAST = Floor(prefill=0.1, decode=0.1, train=0.2, update=0.1, train_operations=6e10)


def test_table():
    ours = Run(HOLDFAST, [STEP] * 3, failure="", parts={"encode": 0.25, "rest": 0.75})
    theirs = Run(OTHER, [{"seconds": 4.0, "peak": 4 * 10**6}] * 3, failure="")
    text = tables([Result(CASE, [ours, theirs], 2 * 10**6, Rates(1e12, 1e9), LEAST)])
    row = "| GRPO, 2 × 3 × 4, 37-token prompts | 1.000 | 4.000 | **4.0×** "
    assert row + "| 24 | 6 | 1 | 4 | 0.25 | 2 | 0.500 | 2.0 |" in text
    assert "| 10% | 1.000 | 0.000 | 1.0 |" in text
    assert "| 0.250 | – | – | – | – | – | – | – | 0.750 |" in text


def test_a_table_says_what_became_of_an_arm():
    ours = Run(HOLDFAST, [STEP], failure="no step in 300 s")
    theirs = Run(OTHER, failure="out of memory")
    text = tables([Result(CASE, [ours, theirs])])
    cells = "| 1.000 (1 of its steps, then no step in 300 s) | out of memory | – | 24 | – | 1 | – | – | – |"
    assert cells in text


ARM = """
import sys, time
from steps.channel import Channel

channel = Channel()
channel.send(parameters=7)
for number in range(9):
    command = channel.wait()
    if not command:
        break
    if number == 1 and {kind!r} == "stuck":
        def in_a_step_without_end():
            time.sleep(600)
        in_a_step_without_end()
    if number == 1 and {kind!r} == "full":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
    if number == 1 and {kind!r} == "broken":
        raise KeyError("a | b")
    channel.send(seconds=2.0, prompt_tokens=74, completion_tokens=24, peak=5)
"""


@pytest.fixture
def rival(tmp_path, monkeypatch):
    """Arms that go wrong in their second step, or never begin."""

    def make(kind: str) -> Rival:
        code = "import time; time.sleep(600)" if kind == "late" else ARM.format(kind=kind)
        (tmp_path / f"arm_{kind}.py").write_text(code)
        return Rival(kind, f"arm_{kind}")

    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return make


@pytest.fixture
def no_rates(monkeypatch):
    monkeypatch.setattr(duel, "measure_rates", lambda case: Rates(1e12, 1e9))


@pytest.mark.slow
@pytest.mark.parametrize("together", [True, False])
def test_whatever_an_arm_does_the_others_are_measured(rival, no_rates, together):
    kinds = ("good", "stuck", "full", "broken", "late") if together else ("stuck", "good")
    runs = {kind: Run(rival(kind)) for kind in kinds}
    result = Result(CASE, list(runs.values()))
    race(result, Course(rounds=2, warmup=0, limit=1.5, together=together))
    assert runs["good"].whole
    assert runs["stuck"].failure == "no step in 1.5 s"
    assert "in_a_step_without_end" in runs["stuck"].details  # where it stood
    assert "| 2.000 (1 of its steps, then no step in 1.5 s) |" in tables([result])
    if together:
        assert [len(run.steps) for run in result.runs] == [2, 1, 1, 1, 0]
        assert runs["late"].failure == "not ready in 1.5 s"
        assert runs["full"].failure == "out of memory"
        assert runs["broken"].failure == "failed: KeyError: 'a | b'"
        assert "failed: KeyError: 'a / b')" in tables([result])  # a cell stays a cell
        assert "Traceback" in failures([result])


def test_stopping_prints_what_there_is(rival, no_rates, monkeypatch, capsys):
    """As on Ctrl-C in the second case; nothing is left running."""
    made = []

    class Interrupted(duel.Arm):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

        def step(self, command="step"):
            if len(made) > 1:
                raise KeyboardInterrupt
            return super().step(command)

    monkeypatch.setattr(duel, "Arm", Interrupted)
    arm = rival("good")
    monkeypatch.setattr(command, "rivals", lambda options: [arm])
    options = command.arguments(None).parse_args(["--rounds", "1", "--warmup", "0"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert command.run("rft_step", [CASE, replace(CASE, prompts=3)], options) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    printed = capsys.readouterr().out
    assert "| GRPO, 2 × 3 × 4, 37-token prompts | 2.000 | 12 |" in printed
    assert "| GRPO, 3 × 3 × 4, 37-token prompts | interrupted | – |" in printed
    assert all(arm.process.poll() is not None for arm in made)


@pytest.mark.slow
def test_holdfast_tells_the_parts_of_a_step(no_rates, tmp_path):
    """Of itself and of another checkout, here the same one; with adapters, and with a profile."""
    pytest.importorskip("peft")
    runs = [Run(HOLDFAST), Run(Rival("base", OURS))]
    result = Result(replace(CASE, lora=2), runs)
    trace = tmp_path / "trace.json"
    race(result, Course(rounds=1, warmup=1, limit=120, together=True, profile=str(trace)))
    for run in runs:
        assert run.whole, run.details
        assert set(run.parts) == {
            "encode", "pictures", "prefill", "decode", "forward", "backward", "optimiser", "rest"
        }  # fmt: skip
    assert result.estimate is not None and result.estimate > 0
    assert trace.stat().st_size > 1000
    assert "aten::" in (tmp_path / "trace.json.txt").read_text()


def test_arms_are_chosen_on_the_command_line(tmp_path):
    def names(*arguments: str) -> list[str]:
        return [one.name for one in command.rivals(command.arguments(None).parse_args(arguments))]

    assert names() == ["Holdfast", "TRL"]
    assert names("--arms", "holdfast") == ["Holdfast"]
    (tmp_path / "src" / "holdfast").mkdir(parents=True)
    assert names("--base", str(tmp_path)) == ["Holdfast", "base", "TRL"]
    with pytest.raises(SystemExit, match="there is no arm verl"):
        names("--arms", "holdfast,verl")
    with pytest.raises(SystemExit, match="there is no src/holdfast"):
        names("--base", str(tmp_path / "src" / "holdfast"))


@pytest.mark.slow
def test_fsdp2_goes_where_one_process_goes():
    """Up to rounding, with prompts without pictures among them; Holdfast to the same bits."""
    options = Namespace(batch=4, group=2, tokens=8, steps=2)
    (alone,), ranks = (together(size, fsdp.measure, "grpo", 2, options) for size in (1, 2))
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in fsdp.rows("grpo", alone, ranks)]
    assert [row[:3] for row in rows] == [["grpo", "2", way] for way in fsdp.WAYS]
    *ours, theirs = [row[-1] for row in rows]
    assert ours == ["same bits"] * 2
    assert theirs == "same bits" or float(theirs) < 1e-3
    whole = alone[fsdp.STOCK]["bytes"]
    assert whole == pytest.approx(4 * 4 * alone["start"].numel(), rel=0.01)  # weight, gradient, two moments
    for way in fsdp.WAYS:
        assert [one[way]["bytes"] for one in ranks] == [pytest.approx(whole / 2, rel=0.02)] * 2
        assert len(ranks[0][way]["cpu"]) == options.steps


@pytest.mark.parametrize(("python", "state", "code"), [("true", "PASS", 0), ("false", "FAIL", 1)])
def test_the_check_of_a_gpu_goes_on_after_a_part_that_fails(python, state, code):
    script = Path(__file__).parents[1] / "benchmarks" / "gpu_check.sh"
    environment = os.environ | {"PYTHON": python, "DEVICE": "cpu"}
    done = subprocess.run([script], capture_output=True, text=True, env=environment)
    assert done.returncode == code
    summary = done.stdout.partition("== summary")[2].splitlines()[1:]
    assert len(summary) == 8
    assert all(re.search(rf" \d+ s  {state}$", line) for line in summary)


def imported_from_holdfast(path):
    """(module, name) of each such import, but for those that an older checkout answers."""
    tree = ast.parse(path.read_text())
    older = {
        id(node)
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler)
        for node in ast.walk(handler)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and str(node.module).startswith("holdfast")
            and id(node) not in older
        ):
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("folder", ["benchmarks", "tools"])
def test_scripts_import_only_what_there_is(folder):
    """Some need packages that tests do not have, and would break without a word."""
    found = {one for path in (ROOT / folder).rglob("*.py") for one in imported_from_holdfast(path)}
    assert found
    for module, name in sorted(found):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")


def test_a_simulated_study_estimates_its_truth(monkeypatch):
    """Of `benchmarks/interval_coverage.py`: abilities fall, so something is forgotten, and is found."""
    monkeypatch.setattr(interval_coverage, "RESAMPLES", 40)
    generator = np.random.default_rng(0)
    ability = interval_coverage.abilities(1.0)
    values = interval_coverage.truth(ability, 0.0, generator)
    true = dict(zip(interval_coverage.METRICS, values, strict=True))
    assert true["fm"] == true["bwt"] < -0.05 < 0.5 < true["avg_acc"]
    found = interval_coverage.one_study(ability, 2, 0.0, generator, "test")
    assert {name: one.value for name, one in found.items()} == pytest.approx(true, abs=0.05)
