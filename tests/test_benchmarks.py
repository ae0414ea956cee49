"""The pieces of the step benchmarks: sizes that are what they say, and a floor that counts all weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from steps.arm_holdfast import make_policy
from steps.duel import Result, _same_work, table
from steps.floor import Floor, Rates, floor
from steps.workload import SHAPES, Case, make_model, make_processor, make_rows

from holdfast.policy.settings import Sampling

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


@pytest.mark.parametrize("shape", SHAPES)
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
    _same_work(CASE, "arm", entry)
    for change in ({"prompt_tokens": 73}, {"completion_tokens": 23}, {"way": "plain"}):
        with pytest.raises(SystemExit, match="did other work"):
            _same_work(CASE, "arm", entry | change)


def test_table():
    ours = {"seconds": 1.0, "sample": 0.4, "train": 0.6, "peak": 10**6}
    theirs = {"seconds": 4.0, "peak": 4 * 10**6}
    least = Floor(prefill=0.1, decode=0.1, train=0.2, update=0.1, train_operations=6e10)
    text = table([Result(CASE, 1, [ours] * 3, [theirs] * 3, Rates(1e12, 1e9), least)])
    row = "| GRPO, 2 × 3 × 4, 37-token prompts | 1.000 | 4.000 | **4.0×** "
    assert row + "| 24 | 6 | 1 | 4 | 0.25 | 0.500 | 2.0 |" in text
    assert "| 10% | 1.000 | 1.0 |" in text
