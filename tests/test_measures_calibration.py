"""Calibration: which tokens are the answer, their probability, the error by hand, and the report."""

from __future__ import annotations

import csv
import json
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cli_helpers import Call
from experiment_helpers import write_config
from holdfast.analysis.bootstrap import Estimate, estimate, item_weights
from holdfast.analysis.calibration import (
    Judged,
    at_moment,
    bins_of,
    calibration_error,
    chance_error,
    change,
    mirrored,
)
from holdfast.analysis.calibration import reliability as curve
from holdfast.analysis.views import analyse
from holdfast.config.load import load_experiment
from holdfast.experiment.plan import make_plan
from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import encode_items
from holdfast.measures.calibration import answer_tokens, confidences
from holdfast.policy.plain import plain_logprobs
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.report.sections.calibration import calibration
from holdfast.tasks.prompts import TEMPLATES
from measures_helpers import assert_untouched, embedded_items, state
from results_helpers import make_results

GREEDY = Sampling(temperature=0, max_tokens=24)
ONCE = np.ones((1, 8))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load("embedded", ModelSettings(path="embedded"))


@pytest.mark.slow
@pytest.mark.parametrize(("style", "end"), [("cot", "}"), ("direct", "<|im_end|>")])
def test_confidence_is_the_product_over_the_answer_and_its_end_as_the_plain_pass_has_it(
    policy: Policy, style, end: str
) -> None:
    items, templates = embedded_items("reading", 5, "test"), TEMPLATES["embedded"]
    before = state(policy)
    right, found = confidences(policy, items, Asking(style, templates, GREEDY, ("a",), batch=2))
    assert_untouched(policy, before)
    assert set(right) <= {0, 1} and len(right) == len(found) == 5
    for item, confidence in zip(items, found, strict=True):
        prompts = encode_items(policy, [item], style, templates)
        completions = policy.sample(prompts, 1, GREEDY, torch.Generator())
        with torch.no_grad():
            plain = plain_logprobs(policy.model, prompts, completions, policy.draw.banned_V, 1.0)
        names = policy.tokenizer.convert_ids_to_tokens(completions.tokens_BGR[0, 0].tolist())
        first = names.index(r"\boxed{") + 1 if style == "cot" else 0
        last = names.index(end, first)
        expected = plain.logprobs_BGR[0, 0, first : last + 1].sum().exp().item()
        assert confidence == pytest.approx(expected, rel=1e-4) and 0 < expected < 1


def test_a_response_without_an_answer_has_no_confidence_and_is_not_right(policy: Policy) -> None:
    short = Sampling(temperature=0, max_tokens=3)
    asking = Asking("cot", TEMPLATES["embedded"], short, ("a",), batch=4)
    assert confidences(policy, embedded_items("reading", 2, "test"), asking) == ([0, 0], [None, None])


class Pieces:
    """Decodes ids as pieces of UTF-8, as byte-level tokenizers do."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def decode(self, completions) -> list[list[str]]:
        ids = completions.tokens_BGR[completions.mask_BGR].tolist()
        return [[b"".join(self.pieces[one] for one in ids).decode("utf-8", "replace")]]

    def response(self):
        from holdfast.policy.batch import Completions

        ids = torch.arange(len(self.pieces))[None, None]
        return Completions(ids, torch.ones_like(ids, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("style", "pieces", "expected"),
    [
        ("cot", [rb"\box", b"ed{1", b"2", b"} ok", b""], (1, 4)),  # tokens that hold part of it
        ("cot", [rb"\boxed{", "é".encode()[:1], "é".encode()[1:], b"}", b""], (1, 4)),  # half a character
        ("cot", [rb"\boxed{1}", rb"\boxed{", b"2", b"}"], (2, 4)),  # the last box
        ("cot", [rb"\boxed{", rb"\frac{", b"1}", b"{2}", b"}", b""], (1, 5)),
        ("cot", [rb"\boxed{", b"2"], None),
        ("direct", [b"<think>a</think>", b"red", b" cat", b""], (1, 4)),  # the end token, too
        ("direct", [rb"\frac{1}", b"{2}", b""], (0, 3)),
    ],
)
def test_tokens_of_the_answer(style, pieces: list[bytes], expected: tuple[int, int] | None) -> None:
    said = Pieces(*pieces)
    text = said.decode(said.response())[0][0]
    found = answer_tokens(said, said.response(), text, style)  # type: ignore[arg-type]
    assert found == (None if expected is None else slice(*expected))


def test_error_by_hand() -> None:
    """Eight answers in four bins of two: |.1 + .2 − 1|, |.3 + .4|, |.6 + .6 − 1|, |.9 + .9 − 2|, over 8."""
    confidence = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.6, 0.9, 0.9])
    right = np.array([0, 1, 0, 0, 1, 0, 1, 1.0])
    assert bins_of(ONCE, 4).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]
    assert calibration_error(confidence, right, ONCE, 4)[0] == pytest.approx((0.7 + 0.7 + 0.2 + 0.2) / 8)
    # The first drawn twice: it has half of the mass of four, and so the first bin of two alone.
    weights = np.array([[2, 0, 1, 1, 0, 0, 0, 0.0]])
    assert calibration_error(confidence, right, weights, 2)[0] == pytest.approx((0.2 + 0.7) / 4)
    x, y = curve([Judged("t", right, confidence)], bins=2)
    assert x.tolist() == pytest.approx([0.25, 0.75]) and y.tolist() == [0.25, 0.75]


def test_items_without_an_answer_are_out_of_every_mean() -> None:
    judged = Judged("t", np.array([1.0, 0, 0, 1]), np.array([0.8, np.nan, 0.4, 0.6]))
    drawn = {name: draws[0] for name, draws in judged.draws().items()}
    # In bins of one: |.4 − 0|, |.6 − 1|, |.8 − 1|.
    assert drawn["ece"] == pytest.approx((0.4 + 0.4 + 0.2) / 3)
    assert drawn["answered"] == 3 and drawn["items"] == 4
    assert drawn["squares"] == pytest.approx(0.16 + 0.16 + 0.04)
    assert drawn["confidence_right"] == pytest.approx(1.4)


def test_perfect_confidences_have_the_error_that_chance_says() -> None:
    """And its bias is the textbook's: √(2/π) √(10 · mean of c (1 − c) / N)."""
    generator = np.random.default_rng(3)
    confidence = np.sort(generator.beta(4, 1.5, 500))
    said = chance_error(confidence, ("a",)).mean()
    variance = (confidence * (1 - confidence)).reshape(10, -1).mean(1)
    assert said == pytest.approx((np.sqrt(2 / np.pi * variance / 50)).mean(), rel=0.03)
    right = (generator.random((200, 500)) < confidence).astype(float)
    assert calibration_error(confidence, right, np.ones_like(right)).mean() == pytest.approx(said, rel=0.05)


def with_calibration(items: int = 400, shift: float = 0.2):
    """Confidences that are perfect just after training and too high by `shift` at the end."""
    results = make_results(("sft", "grpo"), items=items, sequence=("diagrams", "reading"), general=())
    generator = np.random.default_rng(1)

    def rows(tasks, over: float) -> dict:
        found = []
        for task in tasks:
            confidence = generator.uniform(0.5, 1, items)
            right = (generator.random(items) < confidence - over).astype(int).tolist()
            found.append({"task": task, "right": right, "confidence": [None, *confidence[1:].tolist()]})
        return {"rows": found}

    def measured(run):
        stages = {0: rows(results.sequence, 0), 1: rows(results.sequence[:1], 0),
                  2: rows(results.sequence, shift)}  # fmt: skip
        return replace(run, measures={"calibration": stages})

    return replace(results, runs=tuple(map(measured, results.runs)))


def test_over_confidence_at_the_end_is_found_with_its_change() -> None:
    results = with_calibration()
    runs = results.runs[:1]
    base, end = (at_moment(results, runs, moment) for moment in ("base", "end"))
    assert end["ece"].low < 0.2 < end["ece"].high and end["ece"].value > end["chance"].high
    assert end["over"].low < 0.2 < end["over"].high
    assert base["ece"].value < base["chance"].high and base["over"].low < 0 < base["over"].high
    assert base["answered"].value == pytest.approx(399 / 400)
    moved = change(results, runs)
    assert moved is not None and moved.low < 0.2 < moved.high and moved.shown
    just = at_moment(results, results.runs, "just")  # means of c (1 − c), and of c (1 − c) + 0.2 (2 c − 1)
    assert just["brier"].value == pytest.approx((0.1667 + 0.2667) / 2, abs=0.02)


@pytest.mark.slow
def test_a_base_that_answers_alike_for_each_seed_is_one_draw_of_chance() -> None:
    """Means of several draws would have a range that the one ECE beside it is not from."""
    results = with_calibration()
    run = results.runs[0]
    one, three = (
        at_moment(results, [replace(run, seed=seed) for seed in range(seeds)], "base") for seeds in (1, 3)
    )
    assert one == three


def test_a_seed_that_answered_nothing_of_a_task_counts_for_neither_error() -> None:
    results = with_calibration()
    (run,) = results.runs[:1]
    silent = {
        stage: {"rows": [row | {"confidence": [None] * len(row["right"])} for row in measured["rows"]]}
        for stage, measured in run.measured("calibration").items()
    }
    other = replace(run, seed=1, measures={"calibration": silent})
    both, alone = (at_moment(results, runs, "end") for runs in ([run, other], [run]))
    assert both["ece"] == alone["ece"] and both["chance"] == alone["chance"]
    nobody = at_moment(results, [other], "end")
    assert np.isnan(nobody["ece"].value) and "chance" not in nobody
    assert nobody["answered"].value == 0


def test_the_interval_holds_the_truth() -> None:
    """Of an ECE well above chance, in 85 % of studies or more."""
    generator, weights, held = np.random.default_rng(4), item_weights("t", 300, 200), 0
    for _ in range(100):
        confidence = np.sort(generator.uniform(0.5, 1, 300))
        right = (generator.random(300) < confidence - 0.15).astype(float)
        found = mirrored(estimate(calibration_error(confidence, right, weights)))
        held += found.low < 0.15 < found.high
    assert held >= 85


def test_an_interval_is_turned_round_its_value() -> None:
    assert astuple(mirrored(Estimate(0.10, 0.09, 0.15))) == pytest.approx((0.10, 0.05, 0.11))
    # All resamples lie above the value, or below it: it is an end of the interval.
    assert astuple(mirrored(Estimate(0.10, 0.12, 0.20))) == pytest.approx((0.10, 0.0, 0.10))
    assert astuple(mirrored(Estimate(0.10, 0.04, 0.08))) == pytest.approx((0.10, 0.10, 0.16))


def test_base_once_for_all_methods_and_stages_on_the_tasks_so_far(tmp_path: Path) -> None:
    plan = make_plan(load_experiment(write_config(tmp_path, {"measures": {"calibration": {"examples": 4}}})))
    jobs = {chain.method: chain.measures["calibration"] for chain in plan.chains}
    assert [sorted(stages) for stages in jobs.values()] == [[0, 1, 2], [0, 1, 2]]
    assert jobs["sft"][0] == jobs["grpo"][0] and plan.jobs[jobs["sft"][0]].policy is None
    assert [plan.jobs[jobs["sft"][stage]].tasks for stage in range(3)] == [
        ("reading", "counting"), ("reading",), ("reading", "counting"),
    ]  # fmt: skip


def test_the_base_has_its_row_where_the_first_method_is_not_measured() -> None:
    results = with_calibration()
    sft, grpo = results.runs
    table = calibration(analyse(replace(results, runs=(replace(sft, measures={}), grpo))))
    assert [(row["method"], row["when"]) for row in table.rows] == [
        ("base model", "before all"), ("grpo", "just trained"), ("grpo", "end"),
    ]  # fmt: skip


@pytest.mark.slow
def test_from_the_command_line_to_the_report(tmp_path: Path, call: Call) -> None:
    changes = {
        "methods": {"sft": {"objective": "sft", "iterations": 1}},
        "general": [],
        "measures": {"calibration": {}},
        "output": str(tmp_path / "out"),
    }
    done = call("run", str(write_config(tmp_path, changes)))
    assert done.code == 0, done.err
    report = next((tmp_path / "out").glob("**/report"))
    rows = list(csv.DictReader((report / "tables/calibration.csv").open(encoding="utf-8")))
    assert [(row["method"], row["when"]) for row in rows] == [
        ("base model", "before all"), ("sft", "just trained"), ("sft", "end"),
    ]  # fmt: skip
    assert all(0 <= float(row["ece"]) <= 1 and float(row["answered"]) > 0 for row in rows)
    assert (report / "figures/reliability.png").is_file()
    results = [json.loads(path.read_text()) for path in tmp_path.glob("store/calibration/*/result.json")]
    assert len(results) == 3 and all(len(row["right"]) == 8 for one in results for row in one["rows"])
