"""SFT on what a policy wrote: who writes, what is kept, and that a kill changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from holdfast.errors import HoldfastError
from holdfast.files import read_jsonl
from holdfast.learning.groups import item_name
from holdfast.learning.methods import Method, make_method
from holdfast.learning.policygradient import PolicyGradient
from holdfast.learning.sampled_targets import SampledLikelihood
from holdfast.learning.spent import EnergyMeter
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.grading import grade
from holdfast.tasks.prompts import TEMPLATES, render_prompt
from test_learning import SHORT, grpo, items_of, stage_of, train, weights


def sampled(**changes: Any) -> Method:
    return make_method(
        **{  # type: ignore[arg-type]
            "objective": "sft",
            "target": "sampled",
            "learning_rate": 1e-3,
            "batch": 8,
            "group_size": 4,
            "sampling": SHORT,
        }
        | changes
    )


def embedded() -> Policy:
    return Policy.load("embedded", ModelSettings())


def objective_of(method: Method, policy: Policy, hint: str = "{answer} {prompt}") -> SampledLikelihood:
    objective = method.make(stage_of(policy, method, [], 1, load_base=embedded, hint=hint))
    assert isinstance(objective, SampledLikelihood)
    return objective


def test_targets_are_right_and_the_unsolved_are_left_out_and_counted() -> None:
    policy, items = embedded(), items_of("counting", 24)
    groups = objective_of(sampled(), policy).collect(policy, items, ("stream",))
    by_name = {f"{task.name} {example.id}": (task, example) for task, example in items}
    assert 0 < len(groups.items) < len(items)
    assert groups.stats["solved"] == len(groups.items) / len(items)
    assert groups.completions.tokens_BGR.shape[1] == 1
    for name, (text,) in zip(map(item_name, groups.items), policy.decode(groups.completions), strict=True):
        task, example = by_name[name]
        found = grade(task, example, text, "cot")
        assert found.score == 1 and found.format == 1
    assert groups.spent.completions == 24 * 4


def test_learning_prompts_do_not_show_the_answer() -> None:
    policy = embedded()
    task, example = items_of("photos", 1)[0]
    method = sampled(sampled_by="base", show_answer=True, group_size=8)
    groups = objective_of(method, policy).collect(policy, [(task, example)], ("hint",))
    assert len(groups.prompts) == 1
    plain = policy.encode([render_prompt(example, "cot", TEMPLATES["embedded"])], [example.images])
    assert torch.equal(groups.prompts.tokens_BP, plain.tokens_BP)


def test_a_batch_without_a_right_answer_has_nothing_to_learn_although_the_answer_is_shown() -> None:
    policy, cut_off = embedded(), Sampling(max_tokens=1)
    method = sampled(sampled_by="base", show_answer=True, sampling=cut_off)
    groups = objective_of(method, policy).collect(policy, items_of("photos", 3), ("hint",))
    assert not len(groups.prompts) and not groups.items and groups.stats["solved"] == 0
    assert groups.spent.completions == 3 * 4


def test_the_writer_is_who_the_settings_say() -> None:
    """Once the policy's weights are spoiled, only a writer that is not the policy gets answers right."""
    items = items_of("photos", 8)

    def solved(iteration: int, **changes: Any) -> float:
        policy = embedded()
        objective = objective_of(sampled(**changes), policy)
        if changes.get("resample_every"):
            objective.begin(policy, 0)
        with torch.no_grad():
            for parameter in policy.model.parameters():
                parameter.zero_()
        objective.begin(policy, iteration)
        return objective.collect(policy, items, ("who",)).stats["solved"]

    assert solved(3) > 0.5  # the stage's start
    assert solved(3, sampled_by="base") > 0.5
    assert solved(3, resample_every=4) > 0.5  # the policy of iteration 0
    assert solved(4, resample_every=4) == 0  # taken over just now
    assert solved(1, resample_every=1) == 0  # the policy itself


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, 1, 2, 4])
def test_a_killed_stage_resumes_to_the_same_bits(every: int | None, tmp_path: Any) -> None:
    """With resample_every 4 and a checkpoint at 3, the writer is a policy that is on disk nowhere else."""
    items, method = items_of("photos", 16), sampled(resample_every=every)
    whole = embedded()
    train(whole, method, tmp_path / "whole", 7, items)

    def die(done: int, total: int, row: Any) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(embedded(), method, tmp_path / "killed", 7, items, on_step=die, checkpoint_every=3)
    resumed = embedded()
    train(resumed, method, tmp_path / "killed", 7, items, checkpoint_every=3)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_batch_nobody_solves_leaves_the_weights_alone(tmp_path: Any) -> None:
    policy = embedded()
    task, example = items_of("photos", 1)[0]
    impossible = replace(example, answer="mountain", aliases=())
    before = weights(policy)
    with pytest.raises(HoldfastError, match=r"none of 20 completions was right.* nothing was learned"):
        train(policy, sampled(batch=1), tmp_path / "none", 5, [(task, impossible)])
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(policy).items())
    rows = read_jsonl(tmp_path / "none" / "metrics.jsonl")
    assert [row["solved"] for row in rows] == [0] * 5
    totals = train(policy, sampled(batch=1), tmp_path / "some", 4, [(task, impossible), (task, example)])
    assert sorted(row["solved"] for row in read_jsonl(tmp_path / "some" / "metrics.jsonl")) == [0, 0, 1, 1]
    assert totals["skipped"] == 0 and totals["completions"] == 2 and totals["sampled"] == 16


def test_thoughts_that_the_template_opens_are_targets(tmp_path: Any) -> None:
    """Replies begin within the thought, and without the tag they have the form that was asked for."""
    policy = embedded()
    template = policy.encoder.template
    template.text = template.text.replace("assistant ", "assistant <think>")
    groups = objective_of(sampled(), policy).collect(policy, items_of("photos", 8), ("stream",))
    assert policy.encoder.opens_thought and groups.stats["solved"] > 0.5
    assert not any("<think>" in text for (text,) in policy.decode(groups.completions))


def test_positives_only_pushes_nothing_wrong() -> None:
    policy, items = embedded(), items_of("counting", 8)
    both, positives = (
        PolicyGradient(grpo(objective="reinforce", positives_only=only), TEMPLATES["embedded"], None).collect(
            policy, items, ("same",)
        )
        for only in (False, True)
    )
    pushed, kept = both.advantages_BG, positives.advantages_BG
    assert ((pushed > 0) & (pushed < 0.2)).any()  # the reward for form alone
    assert torch.equal(kept, pushed.masked_fill(pushed < 0.9, 0.0))


def test_prompts_without_variance_can_leave_the_step() -> None:
    policy, items = embedded(), items_of("counting", 12)
    collected = PolicyGradient(grpo(), TEMPLATES["embedded"], None).collect(policy, items, ("same",))
    kept, dropped = (
        PolicyGradient(grpo(drop_zero_variance=drop), TEMPLATES["embedded"], None).chosen(collected)
        for drop in (False, True)
    )
    varied = (kept.advantages_BG != 0).any(1)
    assert 0 < len(dropped.prompts) == int(varied.sum()) < len(items)
    assert torch.equal(dropped.advantages_BG, kept.advantages_BG[varied])
    assert dropped.items == tuple(n for n, v in zip(kept.items, varied.tolist(), strict=True) if v)
    assert dropped.spent == kept.spent  # what was sampled was paid for


def test_a_batch_without_any_variance_leaves_the_weights_alone(tmp_path: Any) -> None:
    """As cold samples are: all of a prompt alike."""
    policy, before = embedded(), weights(embedded())
    method = grpo(drop_zero_variance=True, batch=2, sampling=Sampling(temperature=1e-4, max_tokens=12))
    totals = train(policy, method, tmp_path, 3, items_of("counting", 6))
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(policy).items())
    assert [row["zero_variance"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [1] * 3
    assert (totals["skipped"], totals["completions"]) == (0, 0) and totals["sampled"] > 0


def test_operations_are_twice_the_weights_per_token(tmp_path: Any) -> None:
    policy = embedded()
    vision = sum(
        p.numel() for n, p in policy.model.named_parameters() if ".visual." in n and "merger" not in n
    )
    merger = sum(p.numel() for n, p in policy.model.named_parameters() if ".merger." in n)
    text = sum(p.numel() for n, p in policy.model.named_parameters() if ".visual." not in n)
    prompts = policy.encode(["what is in this photo ? think"], [items_of("photos", 1)[0][1].images])
    completions = policy.encode_completions(["<think>clear</think>"])
    tokens = int(prompts.lengths_B.sum() + completions.mask_BGR.sum())
    patches = len(prompts.pixel_values)
    expected = 2 * (text * tokens + (vision + merger / 4) * patches)
    assert policy.operations.forward(prompts, completions) == pytest.approx(expected)
    assert policy.operations.training(prompts, completions) == pytest.approx(3 * expected)


def test_energy_is_read_where_it_can_be_and_wraps_around(tmp_path: Any) -> None:
    assert EnergyMeter(tmp_path).joules() is None
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of the package: counted there already
    (package / "max_energy_range_uj").write_text("99999999\n")
    (package / "energy_uj").write_text("90000000\n")
    meter = EnergyMeter(tmp_path)
    (package / "energy_uj").write_text("5000000\n")
    assert meter.joules() == pytest.approx(15.0)
    (package / "energy_uj").write_text("7000000\n")
    assert meter.joules() == pytest.approx(2.0)
    (package / "energy_uj").unlink()
    assert meter.joules() is None
