"""Losses of SFT that weigh tokens by what an earlier policy says of them, and FLOW, which weighs examples."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from experiment_helpers import make_experiment
from holdfast.errors import InputError
from holdfast.files import read_jsonl
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.loop import learn
from holdfast.learning.methods import SampledSFT, make_method
from holdfast.learning.retention import strategy_class
from holdfast.learning.retention.pool import keep_table, key_of, table
from holdfast.policy.gradients import flat, trained_parameters
from holdfast.tasks.prompts import TEMPLATES
from replay_helpers import NEW, OLD, loaded
from test_learning import Scripted, scripted_groups, sft, stage_of, weights

LN = math.log


def test_stm_learns_the_tokens_that_did_not_surprise_and_is_a_mean_over_them() -> None:
    """Perplexities 2, 2.5 and 4 under the start; the bound is 2.5."""
    policy = Scripted([[[LN(0.5), LN(0.1), LN(0.3), 7.0]]])
    objective = Likelihood(sft(loss="stm"), {})
    groups = scripted_groups([[[1, 1, 1, 0]]], [[1.0]], old=[[[LN(0.5), LN(0.4), LN(0.25), 0.0]]])
    sums = objective.loss(policy, objective.weighed(groups))  # type: ignore[arg-type]
    (sums.loss / 3).backward()  # as a step does: over its three tokens
    assert sums.loss.item() / 3 == pytest.approx(-(LN(0.5) + LN(0.1)) / 2)
    assert policy.logprobs.grad.flatten().tolist() == pytest.approx([-0.5, -0.5, 0, 0])


def test_stm_goes_with_weights_of_examples() -> None:
    policy = Scripted([[[-1.0, -2.0]], [[-3.0, 9.0]]])
    groups = scripted_groups([[[1, 1]], [[1, 0]]], [[1.0], [1.0]], old=[[[-0.1, -5.0]], [[-0.1, 0.0]]])
    groups.__dict__["token_weights_BG"] = torch.tensor([[0.5], [0.25]])
    objective = Likelihood(sft(loss="stm"), {})
    sums = objective.loss(policy, objective.weighed(groups))  # type: ignore[arg-type]
    assert sums.loss.item() / 3 == pytest.approx((0.5 * 1.0 + 0.25 * 3.0) / 2)


def test_a_token_that_became_far_likelier_has_no_gradient_and_no_overflow() -> None:
    policy = Scripted([[[-0.1]]])
    groups = scripted_groups([[[1]]], [[1.0]], old=[[[-200.0]]])
    sums = Likelihood(sft(loss="psft", updates=2), {}).loss(policy, groups)  # type: ignore[arg-type]
    sums.loss.backward()
    assert sums.loss.item() == pytest.approx(-1.28) and policy.logprobs.grad.item() == 0


def test_stm_that_masks_everything_learns_nothing() -> None:
    objective = Likelihood(sft(loss="stm"), {})
    policy = Scripted([[[-1.0]]])
    sums = objective.loss(policy, objective.weighed(scripted_groups([[[1]]], [[1.0]], old=[[[-5.0]]])))  # type: ignore[arg-type]
    sums.loss.backward()
    assert sums.loss.item() == 0 and policy.logprobs.grad.item() == 0


def test_stm_asks_the_policy_of_the_stages_start() -> None:
    """Also when what learns has moved on; `masked` is the share that is left out."""
    policy = loaded()
    start = policy.snapshot()
    objective = Likelihood(sft(loss="stm"), TEMPLATES["embedded"], start)
    first = objective.collect(policy, NEW[:4], ())
    with torch.no_grad():
        for parameter in trained_parameters(policy):
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    again = objective.collect(policy, NEW[:4], ())
    assert first.old_logprobs_BGR is not None and again.old_logprobs_BGR is not None
    torch.testing.assert_close(first.old_logprobs_BGR, again.old_logprobs_BGR)
    mask = first.completions.mask_BGR
    surprising = (first.old_logprobs_BGR < -LN(2.5)) & mask
    assert first.stats["masked"] == pytest.approx(float(surprising.sum() / mask.sum()))
    assert 0 < first.stats["masked"] < 1
    assert first.spent.flops == policy.operations.forward(first.prompts, first.completions)


def test_psft_is_a_ratio_that_rests_above_its_bound() -> None:
    """Ratios 1.1, 1.5 and 0.2 with a bound of 1.28: the second has no gradient, the third its own."""
    before = [-1.0, -2.0, -0.5]
    policy = Scripted([[[old + LN(ratio) for old, ratio in zip(before, (1.1, 1.5, 0.2), strict=True)]]])
    groups = scripted_groups([[[1, 1, 1]]], [[1.0]], old=[[before]])
    sums = Likelihood(sft(loss="psft", updates=2), {}).loss(policy, groups)  # type: ignore[arg-type]
    sums.loss.backward()
    assert sums.loss.item() == pytest.approx(-(1.1 + 1.28 + 0.2))
    assert policy.logprobs.grad.flatten().tolist() == pytest.approx([-1.1, 0, -0.2])
    assert sums.clipped == 1


def test_psft_begins_an_iteration_as_plain_sft() -> None:
    policy = loaded()
    gradients = []
    for loss in ("nll", "psft"):
        objective = Likelihood(sft(loss=loss, updates=2), TEMPLATES["embedded"])
        groups = objective.collect(policy, NEW[:4], ())
        gradients.append(flat(objective.loss(policy, groups).loss, trained_parameters(policy)))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{"loss": "stm", "updates": 2}, {"loss": "psft", "updates": 2}])
def test_a_killed_stage_goes_on_to_the_same_bits_and_parts_change_nothing(
    tmp_path: Path, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    def learned(name: str, **more: Any) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        policy = loaded()

        def on_step(done: int, total: int, row: Any) -> None:
            if name == "whole" and done == 3:
                shutil.copytree(tmp_path / "whole", tmp_path / "killed")

        stage = stage_of(policy, sft(batch=4, **changes, **more), NEW, 4)
        totals, _ = learn(stage, folder=tmp_path / name / "work", checkpoint_every=2, on_step=on_step)
        return weights(policy), totals

    whole, totals = learned("whole")
    resumed, again = learned("killed")
    assert not caplog.messages and totals["flops"] == again["flops"]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    parts, _ = learned("parts", micro_batch=1)
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=1e-3, atol=1e-4)
    plain = loaded()
    method = sft(batch=4, updates=2)
    learn(stage_of(plain, method, NEW, 4), folder=tmp_path / "n", checkpoint_every=9, on_step=lambda *_: None)
    assert any(not torch.equal(whole[name], one) for name, one in weights(plain).items())
    named = {"stm": "masked", "psft": "clipped"}[changes["loss"]]
    assert all(named in row for row in read_jsonl(tmp_path / "whole" / "work" / "metrics.jsonl"))


def test_own_targets_may_be_held_too(tmp_path: Path) -> None:
    method = make_method(
        objective="sft",
        target="sampled",
        loss="stm",
        learning_rate=1e-3,
        batch=4,
        group_size=2,
        sampling={"max_tokens": 24},
    )
    assert isinstance(method, SampledSFT) and method.looks_at == "stage_start"
    stage = stage_of(loaded(), method, NEW, 1)
    learn(stage, folder=tmp_path, checkpoint_every=9, on_step=lambda *_: None)
    assert "masked" in read_jsonl(tmp_path / "metrics.jsonl")[0]


def test_settings_of_one_loss_count_with_it_alone() -> None:
    plain = sft().determining(["a"])
    for name, loss, value in (("stm_perplexity", "stm", 3.0), ("psft_clip", "psft", 0.2)):
        assert sft(**{name: value}).determining(["a"]) == plain
        more = {"updates": 2} if loss == "psft" else {}
        assert name not in sft(loss=loss, **more).determining(["a"])
        assert sft(loss=loss, **{name: value}, **more).determining(["a"])[name] == value
    assert sft(loss="stm").looks_at == "stage_start" and sft().looks_at is None
    assert sft(loss="psft", updates=2).has_ratios and not sft(updates=2).has_ratios


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "psft"}, "set updates above 1"),
        ({"loss": "stm", "stm_perplexity": 1.0}, "greater than 1"),
        ({"loss": "stm", "target": "sampled", "sampled_by": "base"}, "leave sampled_by: base out"),
        ({"retention": {"kind": "flow"}, "target": "sampled"}, "target: answer or reasoned"),
        ({"retention": {"kind": "flow"}, "objective": "grpo"}, "use it with objective: sft"),
    ],
)
def test_what_does_not_go_together_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_method(**{"objective": "sft", "learning_rate": 1e-3} | changes)


def test_a_setting_of_a_loss_that_no_method_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is about loss: stm, and no method has it"):
        make_experiment(tmp_path, methods={"a": {"objective": "sft", "stm_perplexity": 4.0}})


def test_flow_weighs_examples_by_how_easy_they_were(tmp_path: Path) -> None:
    """exp(−f / τ), f the mean over a target's tokens as the stage began, τ the median of its examples."""
    policy, memory = loaded(), dict[str, torch.Tensor]()
    stage = stage_of(policy, sft(batch=3), NEW, 4)
    strategy = strategy_class("flow").model_validate({"kind": "flow"})
    strategy.begin(stage, memory)
    objective = Likelihood(sft(), TEMPLATES["embedded"])
    groups = objective.collect(policy, [*NEW[:3], OLD["reading"][0]], ())
    every = objective.collect(policy, NEW, ())
    said = policy.group_logprobs(every.prompts, every.completions).logprobs_BGR.detach()
    easy_N = -(said * every.completions.mask_BGR).sum((1, 2)) / every.completions.lengths_BG[:, 0]
    weights_N = torch.exp(-easy_N / torch.quantile(easy_N, 0.5)).tolist()
    kept = table(memory, "weights")
    assert [kept[key_of(item)][0] for item in NEW] == pytest.approx(weights_N, rel=1e-4)
    wanted = [*weights_N[:3], 1.0]
    weighed = strategy.collected(stage, memory, groups)
    assert weighed.token_weights_BG is not None
    assert weighed.token_weights_BG.flatten().tolist() == pytest.approx(wanted, rel=1e-4)
    tokens = groups.completions.lengths_BG.flatten()
    lost = 1 - float((torch.tensor(wanted) * tokens).sum() / tokens.sum())
    assert weighed.stats["flow_share"] == pytest.approx(lost, rel=1e-4)
    assert stage.spent["flops"] > 0


def test_a_weight_of_flow_is_a_factor_of_the_examples_loss() -> None:
    policy = Scripted([[[-1.0, -2.0]], [[-3.0, 9.0]]])
    groups = scripted_groups([[[1, 1]], [[1, 0]]], [[1.0], [1.0]])
    strategy = strategy_class("flow").model_validate({"kind": "flow"})
    memory = dict[str, torch.Tensor]()
    keep_table(memory, "weights", {key_of(NEW[0]): [math.exp(-0.5)], key_of(NEW[1]): [math.exp(-2.0)]})
    groups.__dict__["items"] = tuple(NEW[:2])
    weighed = strategy.collected(SimpleNamespace(), memory, groups)  # type: ignore[arg-type]
    sums = Likelihood(sft(), {}).loss(policy, weighed)  # type: ignore[arg-type]
    assert sums.loss.item() == pytest.approx(3 * math.exp(-0.5) + 3 * math.exp(-2.0))
