"""What strategies cost is what the plan says: operations against a run, bytes against what is allocated."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from experiment_helpers import make_experiment
from holdfast.experiment import estimate
from holdfast.experiment.architecture import architecture
from holdfast.experiment.memory import Pass, activations, assumed, distributions, of_method
from holdfast.experiment.plan import make_plan
from holdfast.learning.distillation import TABLES, divergence, part_of_the_way
from holdfast.learning.loop import learn
from holdfast.learning.methods import make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.retention import Distributions, strategy_class
from holdfast.learning.retention.answers import mismatch
from holdfast.learning.retention.tmkl import without_targets
from holdfast.policy.logprobs import log_distribution
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings
from test_learning import grpo, items_of, sft, stage_of
from test_memory import SMALL

PAGE = Path(__file__).parents[1] / "docs" / "retention.md"
COSTLY: dict[str, tuple[Any, dict[str, Any]]] = {
    "lwf": (sft, {}),
    "lwf under RFT": (grpo, {"kind": "lwf"}),
    "asft": (sft, {}),
    "der": (sft, {"buffer": 8, "replayed": 4}),
    "tmkl": (sft, {}),
    "rad": (sft, {"examples": 4}),
    "agem": (sft, {"examples": 4}),
    "agem under RFT": (grpo, {"kind": "agem"}),
    "gem": (sft, {"examples": 4}),
    "kl_old": (grpo, {"share": 0.5}),
    "opd": (grpo, {"share": 0.5}),
    "rapo": (grpo, {}),
    "sam": (sft, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", COSTLY)
def test_operations_are_near_those_of_a_run(case: str, tmp_path: Path) -> None:
    """Of the second stage, whose old examples are as long as its new ones."""
    make, settings = COSTLY[case]
    loss = {"loss": "dft"} if case == "asft" else {}
    method = make(batch=8, learning_rate=1e-9, **loss, retention={"kind": case} | settings)
    measured = flops(method, tmp_path) / flops_without(make, loss.get("loss"))
    assert estimate.work(method.determining(["counting"])) == pytest.approx(measured, rel=0.05)


def test_the_page_has_the_numbers_a_weight_that_the_plan_counts() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|.*?\|[^|]*\| ([\d.]+)[^|]*\|[^|]*\|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    said = {kind: float(number) for kind, number in rows}
    assert len(said) == 23
    assert said == {kind: strategy_class(kind).copies for kind in said}


def flops(method: Any, folder: Path) -> float:
    """Operations of the second of two stages by a method."""
    both = items_of("counting", 32)
    first, second = [(replace(task, name="before"), example) for task, example in both[:16]], both[16:]
    policy, left = Policy.load("embedded", ModelSettings()), {}
    for number, items in enumerate((first, second)):
        earlier = {"before": first} if number else {}
        stage = stage_of(policy, method, items, 2, inherited=left, earlier=earlier, stream=("costs", number))
        totals, left = learn(stage, folder=folder / str(number), checkpoint_every=9, on_step=lambda *_: None)
    return totals["flops"]


@cache
def flops_without(make: Callable[..., Any], loss: str | None) -> float:
    """The same without a strategy, run once for all of them."""
    with TemporaryDirectory() as folder:
        return flops(make(batch=8, learning_rate=1e-9, **({"loss": loss} if loss else {})), Path(folder))


def test_time_follows_operations(tmp_path: Path) -> None:
    """A method with a strategy that doubles them takes twice as long; code that is gone counts as nothing."""
    methods = {
        "sft": {"objective": "sft"},
        "lwf": {"objective": "sft", "retention": {"kind": "lwf"}},
    }
    plan = make_plan(make_experiment(tmp_path, methods=methods))
    plain, held = (plan.jobs[chain.learn[0]] for chain in plan.chains)
    assert estimate.seconds(held, {}) == pytest.approx(estimate.seconds(plain, {}) * (1 + 4 / 3))
    gone = {"objective": "sft", "learning_rate": 1e-3, "retention": [{"kind": "gone.py:Mine"}]}
    assert estimate.work(gone) == 1


def peak(work: Callable[[], object]) -> int:
    """Bytes on the host that are held at once at most."""
    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    assert profiled.profiler is not None
    found = [one for one in profiled.profiler.kineto_results.events() if one.name() == "[memory]"]
    held = most = 0
    for event in sorted(found, key=lambda one: one.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def test_tables_are_as_many_as_are_held_at_once() -> None:
    """Of 32 tokens and 8192 entries, with the head's gradient, as lwf and sdft, and der take it."""
    hidden_TH, head_VH = torch.randn(32, 4), torch.randn(8192, 4, requires_grad=True)
    nothing_V = torch.zeros(8192, dtype=torch.bool)

    def said() -> torch.Tensor:
        return log_distribution(hidden_TH @ head_VH.T, nothing_V, 1.0)

    def held() -> None:
        with torch.no_grad():
            teacher_TV = said()
        torch.autograd.grad(divergence(teacher_TV, said()).sum(), [head_VH])

    def partly() -> None:
        with torch.no_grad():
            teacher_TV = said()
        student_TV = said()
        target_TV = part_of_the_way(teacher_TV, student_TV.detach(), 0.5)
        del teacher_TV
        torch.autograd.grad(divergence(target_TV, student_TV).sum(), [head_VH])

    def replayed() -> None:
        now_TV, ids_TK = said(), torch.zeros(32, 3, dtype=torch.long)
        loss = mismatch(torch.zeros(32, 3), now_TV.gather(1, ids_TK), "mse").sum() - now_TV[:, 0].sum()
        torch.autograd.grad(loss, [head_VH])

    def tables(kind: str, **settings: Any) -> int:
        found = strategy_class(kind).model_validate({"kind": kind} | settings).distributions(sft())
        assert found is not None
        return found.tables

    def masked() -> None:
        with torch.no_grad():
            teacher_TV = said()
        targets_T = torch.zeros(32, dtype=torch.long)
        torch.autograd.grad(without_targets(teacher_TV, said(), targets_T).sum(), [head_VH])

    table = 4 * 32 * 8192
    assert peak(held) / table == pytest.approx(tables("lwf"), rel=0.2)
    assert peak(replayed) / table == pytest.approx(tables("der"), rel=0.2)
    assert peak(partly) / table == pytest.approx(TABLES + 1, rel=0.2)
    assert peak(masked) / table == pytest.approx(tables("tmkl"), rel=0.2)
    assert tables("lwf") == TABLES == tables("asft")


def test_a_pass_over_distributions_by_hand() -> None:
    """Graph without logits, and tables of all tokens; in parts as `micro_batch` and the bound say."""
    whole = Pass(prompts=4, prompt=6, group=2, completion=3, patches=0)
    held = Distributions(tables=5, prompts=4, completions=2)
    blind = replace(SMALL, vocabulary=0)

    def expected(rows: int) -> int:
        part = Pass(prompts=rows, prompt=6, group=2, completion=3, patches=0)
        return activations(blind, part, 4, checkpointing=False) + 4 * 5 * rows * 2 * 3 * SMALL.vocabulary

    model = ModelSettings()
    assert distributions(SMALL, model, whole, held, None) == expected(4)
    assert distributions(SMALL, model, whole, held, 2) == expected(2)
    bounded = replace(held, entries=3 * 2 * 3 * SMALL.vocabulary)
    assert distributions(SMALL, model, whole, bounded, None) == expected(3)
    assert distributions(SMALL, model, whole, replace(held, entries=1), None) == expected(1)


def test_a_large_vocabulary_counts() -> None:
    large = replace(SMALL, vocabulary=10**6)
    plain, held, taught = (
        of_method(large, ModelSettings(), make_method(learning_rate=1e-6, **changes), rows=assumed(large, 0))
        for changes in (
            {"objective": "sft"},
            {"objective": "sft", "retention": {"kind": "lwf"}},
            {"objective": "sdft", "sampling": {"max_tokens": 64}},
        )
    )
    tokens = 2**28 // 10**6 // 64 * 64  # four prompts of 64 tokens at once
    assert held.learning - plain.learning > 4 * TABLES * tokens * 10**6 * 0.8
    assert taught.learning > 4 * TABLES * 16 * 64 * 10**6
    assert held.parts["retention"] == 4 * SMALL.trained and held.parts["reference"] == 4 * SMALL.trained


@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
@pytest.mark.parametrize("freeze", [(), ("vision",)])
def test_the_moments_of_muon_are_exact(lora: Lora | None, freeze: Any) -> None:
    if lora is not None:
        pytest.importorskip("peft")
    settings = ModelSettings(device="cpu", lora=lora, freeze=freeze)
    policy, known = Policy.load("embedded", settings), architecture(settings)
    assert known is not None
    method = make_method(objective="sft", learning_rate=1e-4, optimizer="muon")
    optimizer = make_optimizer(policy.model, method)
    sum(parameter.sum() for parameter in policy.model.parameters() if parameter.requires_grad).backward()
    optimizer.step()
    kept = [tensor for state in optimizer.state.values() for key, tensor in state.items() if key != "step"]
    made = of_method(known, settings, method, rows=assumed(known, 48 * 48))
    assert made.parts["optimiser"] == sum(tensor.nbytes for tensor in kept)


def test_an_anchor_at_the_base_is_a_second_model() -> None:
    def reference(**settings: Any) -> int:
        method = sft(loss="dft", retention={"kind": "asft"} | settings)
        return of_method(SMALL, ModelSettings(), method, rows=assumed(SMALL, 0)).parts["reference"]

    assert reference() == 4 * SMALL.parameters and reference(to="stage_start") == 4 * SMALL.trained
