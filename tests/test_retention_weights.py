"""Strategies in weight space: their formulas by hand on two layers, and all kinds through loop and store."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from holdfast.errors import HoldfastError
from holdfast.learning.bfloat16 import BFloat16AdamW
from holdfast.learning.methods import make_method
from holdfast.learning.retention import Strategy, strategy_class
from holdfast.learning.retention.agem import project
from holdfast.learning.retention.keeplora import directions, top_inputs
from holdfast.learning.retention.vectors import add_to_gradient
from holdfast.policy.gradients import trained_parameters


class Net(nn.Module):
    """Two layers without bias, and an embedding, of which the head is made."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, width)
        self.one, self.two = nn.Linear(width, width, bias=False), nn.Linear(width, 2, bias=False)
        self.norm = nn.Parameter(torch.ones(width))

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.embed


def made(kind: str, **settings: Any) -> Strategy:
    return strategy_class(kind).model_validate({"kind": kind} | settings)


def stage_on(model: nn.Module, **more: Any) -> Any:
    policy = SimpleNamespace(model=model, device=torch.device("cpu"))
    return SimpleNamespace(
        **{
            "policy": policy,
            "inherited": {},
            "stream": ("s",),
            "earlier": {},
            "items": [],
            "sampler": None,
            "spent": Counter(),
        }
        | more
    )


def seeded(dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(0)
    return Net().to(dtype)


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([one.detach().flatten().float() for one in model.parameters()])


def fill_gradients(model: nn.Module, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for one in model.parameters():
        one.grad = torch.randn(one.shape, generator=generator).to(one.dtype)


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    if any(one.dtype == torch.bfloat16 for one in model.parameters()):
        return BFloat16AdamW([{"params": list(model.parameters()), "weight_decay": 0.1}], 0.1, (0.9, 0.999))
    return torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)


def steps(
    strategy: Strategy, stage: Any, memory: dict[str, torch.Tensor], count: int
) -> list[dict[str, float]]:
    """Some steps along random gradients, as the loop makes them."""
    optimizer, rows = optimizer_of(stage.policy.model), []
    for number in range(count):
        fill_gradients(stage.policy.model, number)
        said = strategy.gradient(stage, memory, None)  # type: ignore[arg-type]
        optimizer.step()
        rows.append(said | strategy.stepped(stage, memory, optimizer))
    return rows


def test_movement_penalty_by_hand() -> None:
    """R: of each tensor the tenth that moved most; then λ/|R| · sign(θ − θ*) on it, and the union after."""
    model = nn.Sequential(nn.Linear(10, 2, bias=False), nn.Linear(2, 5, bias=False))
    stage, strategy, memory = stage_on(model), made("cpo", strength=8.0), {}
    strategy.begin(stage, memory)
    assert strategy.gradient(stage, memory, None) == {}  # type: ignore[arg-type]
    with torch.no_grad():
        model[0].weight[0, 3] += 2.0  # of 20 weights two are chosen, of 10 one
        model[0].weight[1, 7] -= 3.0
        model[0].weight[1, 8] += 1.0
        model[1].weight[4, 1] += 1.0
    left = strategy.end(stage, memory)
    assert left["mask"].nonzero().flatten().tolist() == [3, 17, 29]

    stage.inherited, memory = {"cpo": left}, {}
    strategy.begin(stage, memory)
    with torch.no_grad():
        model[0].weight[0, 3] -= 0.5
        model[1].weight[4, 1] += 0.25
        model[1].weight[0, 0] += 1.0  # not in R
    fill_gradients(model)
    before = torch.cat([one.grad.flatten() for one in model.parameters()])  # type: ignore[union-attr]
    strategy.gradient(stage, memory, None)  # type: ignore[arg-type]
    added = torch.cat([one.grad.flatten() for one in model.parameters()]) - before  # type: ignore[union-attr]
    expected = torch.zeros(30)
    expected[3], expected[29] = -8 / 3, 8 / 3
    torch.testing.assert_close(added, expected, rtol=0, atol=1e-6)
    # Of the second tensor the weight that moved most joins; of the first only what moved at all.
    assert strategy.end(stage, memory)["mask"].nonzero().flatten().tolist() == [3, 17, 20, 29]


def test_the_controls_choose_as_many_by_chance() -> None:
    model = nn.Sequential(nn.Linear(50, 4, bias=False), nn.Linear(4, 25, bias=False))
    masks = []
    for settings in ({}, {"control": "random"}, {"control": "random"}):
        strategy, memory, stage = made("cpo", **settings), {}, stage_on(model)
        strategy.begin(stage, memory)
        memory["anchor"] = memory["anchor"] - torch.linspace(0.1, 1, 300)
        masks.append(strategy.end(stage, memory)["mask"])
    assert [part.sum() for part in masks[0].split((200, 100))] == [20, 10]
    assert [part.sum() for part in masks[1].split((200, 100))] == [20, 10]
    assert torch.equal(masks[1], masks[2]) and not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize("kind", ["ewc", "mas", "ewc_sum"])
def test_importance_adds_up_and_pulls_to_the_anchor(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stages with importances F and G; as first published each pulls to where it ended."""
    importances = iter((torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0])))
    monkeypatch.setattr(
        "holdfast.learning.retention.quadratic.mean_over_answers", lambda *_: next(importances)
    )
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    strategy, inherited = made(kind, strength=2.0), {}
    for weight in (1.0, 5.0):
        memory: dict[str, torch.Tensor] = {}
        stage = stage_on(model, inherited=inherited)
        strategy.begin(stage, memory)
        with torch.no_grad():
            [one.fill_(weight) for one in model.parameters()]
        inherited = {kind: strategy.end(stage, memory)}
    memory = {}
    strategy.begin(stage_on(model, inherited=inherited), memory)
    with torch.no_grad():
        [one.fill_(6.0) for one in model.parameters()]
    for one in model.parameters():
        one.grad = torch.zeros_like(one)
    strategy.gradient(stage_on(model), memory, None)  # type: ignore[arg-type]
    decay = 0.95 if kind == "ewc" else 1.0
    expected = {
        "ewc": [2 * (3 + decay) * 1.0, 2 * 2 * decay * 1.0],
        "mas": [2 * (3 + decay) * 1.0, 2 * 2 * decay * 1.0],
        "ewc_sum": [2 * (1 * (6 - 1) + 3 * (6 - 5)), 2 * 2 * (6 - 1)],
    }[kind]
    assert [one.grad.item() for one in model.parameters()] == pytest.approx(expected)  # type: ignore[union-attr]


def test_importance_of_memory_aware_synapses_by_hand() -> None:
    """log π = w · x for three tokens: ∂ Σ (w x_t)² / ∂w = 2 w Σ x_t², without its sign."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(-0.5)
    inputs = torch.tensor([1.0, 2.0, 3.0]).view(3, 1)
    policy = SimpleNamespace(
        model=model, group_logprobs=lambda *_: SimpleNamespace(logprobs_BGR=model(inputs).view(1, 1, 3))
    )
    strategy: Any = made("mas", strength=1.0)
    assert strategy.importance(policy, None, None).tolist() == pytest.approx([2 * 0.5 * 14])


def test_a_term_is_the_gradient_where_there_was_none() -> None:
    """Of bfloat16 weights whose gradients are added up in float32, too."""
    model = nn.Linear(2, 1, bias=False).bfloat16()
    model.weight.grad_dtype = torch.float32
    assert add_to_gradient(stage_on(model).policy, torch.tensor([3.0, 1.001])) == pytest.approx(1)
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[3.0, pytest.approx(1.001, rel=1e-6)]]


def test_the_way_through_a_stage_by_hand() -> None:
    """ω = 1·2 + 3·0.5 and −4·0.5 over changes of −2.5 and 0.5, ξ 0.25: Ω = 3.5 / 6.5 and 0; then λ 2."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    one, two = model.parameters()
    stage, strategy, memory = stage_on(model), made("si", strength=2.0, damping=0.25), {}

    def moved(first: tuple[float, float], second: tuple[float, float]) -> dict[str, float]:
        """A step from gradients to weights."""
        one.grad, two.grad = (torch.full((1, 1), number) for number in first)
        said = strategy.gradient(stage, memory, None)  # type: ignore[arg-type]
        with torch.no_grad():
            one.fill_(second[0]), two.fill_(second[1])
        strategy.stepped(stage, memory, torch.optim.AdamW(model.parameters()))
        return said

    with torch.no_grad():
        one.fill_(1.0), two.fill_(0.0)
    strategy.begin(stage, memory)
    assert moved((1.0, 4.0), (-1.0, 0.5)) == {}
    strategy.gradient(stage, memory, None)  # type: ignore[arg-type]  # of a step that is skipped
    moved((3.0, 0.0), (-1.5, 0.5))
    left = strategy.end(stage, memory)
    assert left["omega"].tolist() == pytest.approx([3.5 / 6.5, 0.0])

    stage.inherited, memory = {"si": left}, {}
    strategy.begin(stage, memory)
    moved((0.0, 0.0), (-0.5, 4.5))
    said = moved((0.0, -1.0), (-1.0, 4.5))
    assert one.grad.item() == pytest.approx(2 * 3.5 / 6.5) and two.grad.item() == -1.0  # type: ignore[union-attr]
    assert said["si_share"] == pytest.approx(7 / 6.5 / ((7 / 6.5) ** 2 + 1) ** 0.5)
    assert strategy.end(stage, memory)["omega"].tolist() == pytest.approx([3.5 / 6.5, 0.0])  # g had no pull


def test_source_shielded_columns_by_hand() -> None:
    """Σ_i |W_ij| · ‖X_j‖: 3·1, 1·4, 2·1, 1·0.5 of the first matrix: columns 1 and 0."""
    model = Net()
    with torch.no_grad():
        model.one.weight.zero_()
        model.one.weight[0] = torch.tensor([-1.0, 1.0, 2.0, 0.0])
        model.one.weight[1] = torch.tensor([2.0, 0.0, 0.0, 1.0])
    matrices, squares = {"one.weight": model.one.weight}, {"one.weight": torch.tensor([1.0, 16.0, 1.0, 0.25])}
    for share, columns in ((0.5, [True, True, False, False]), (0.25, [False, True, False, False])):
        strategy: Any = made("ssu", share=share)
        assert strategy.columns(matrices, squares)[model.one.weight].tolist() == columns


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frozen_weights_stay_to_the_bit(dtype: torch.dtype) -> None:
    """Neither steps nor decay move them, and the share of the gradient that they had is said."""
    model, strategy, memory = seeded(dtype), made("ssu"), {}
    stage = stage_on(model)
    frozen = torch.zeros(len(flat(model)), dtype=torch.bool)
    frozen[::3] = True
    strategy.freeze(stage, memory, frozen)  # type: ignore[attr-defined]
    before = flat(model)
    fill_gradients(model, 0)
    squares = torch.cat([one.grad.float().flatten() for one in model.parameters()]).square()  # type: ignore[union-attr]
    rows = steps(strategy, stage, memory, 5)
    assert rows[0]["ssu_share"] == pytest.approx(
        float((squares[frozen].sum() / squares.sum()).sqrt()), rel=1e-3
    )
    assert torch.equal(flat(model)[frozen], before[frozen])
    assert (flat(model)[~frozen] != before[~frozen]).all()


def test_half_of_the_tensors_rest_and_another_half_the_next_time() -> None:
    halves = []
    for stream in (("a",), ("b",), ("c",)):
        model, memory = seeded(), {}
        stage, strategy = stage_on(model, stream=stream), made("hft")
        strategy.begin(stage, memory)
        before = [one.detach().clone() for one in model.parameters()]
        steps(strategy, stage, memory, 2)
        rests = [torch.equal(one, old) for one, old in zip(model.parameters(), before, strict=True)]
        assert sum(rests) == 2 and rests == memory["frozen"].tolist()
        halves.append(rests)
    assert len(set(map(tuple, halves))) > 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("control", [None, "random"])
def test_only_the_largest_momenta_move(dtype: torch.dtype, control: str | None) -> None:
    """Of each tensor a quarter, at least one; the moments take the whole gradient."""
    model, memory = seeded(dtype), {}
    stage, strategy = stage_on(model), made("mofo", share=0.25, control=control)
    strategy.begin(stage, memory)
    before = [one.detach().clone() for one in model.parameters()]
    (row,) = steps(strategy, stage, memory, 1)
    fill_gradients(model, 0)
    for one, old in zip(model.parameters(), before, strict=True):
        moved, count = (one != old), max(1, one.numel() // 4)
        assert moved.sum() == count
        largest = one.grad.abs() >= one.grad.abs().flatten().topk(count).values.min()  # type: ignore[union-attr]
        assert torch.equal(moved, largest) != bool(control) or one.numel() <= 4
    start = torch.cat([old.flatten().float() for old in before])
    counts = [max(1, old.numel() // 4) for old in before]
    assert (memory["before"] != start).sum() == sum(counts)  # in float32, too, where weights are bfloat16
    assert 0 < row["mofo_share"] < 1


def test_projection_of_averaged_memory_by_hand() -> None:
    """g = (1, 2, 3, 0), g_ref = (-1, 0, 0, 1): g·g_ref = -1, so half of g_ref is added. Else g stays."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False))
    stage = stage_on(model)

    def put() -> None:
        model[0].weight.grad, model[1].weight.grad = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]])

    put()
    share = project(stage, torch.tensor([-1.0, 0.0, 0.0, 1.0]))
    found = torch.cat([model[0].weight.grad.flatten(), model[1].weight.grad.flatten()])  # type: ignore[union-attr]
    assert found.tolist() == [0.5, 2.0, 3.0, 0.5]
    assert torch.dot(found, torch.tensor([-1.0, 0.0, 0.0, 1.0])) == 0
    assert share == pytest.approx((0.5 / 14) ** 0.5)
    put()
    assert project(stage, torch.tensor([1.0, 0.0, 0.0, -1.0])) == 0
    assert model[0].weight.grad.tolist() == [[1.0, 2.0]]  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_matrix_does_mostly_it_goes_on_doing(dtype: torch.dtype) -> None:
    model, memory = seeded(dtype), {}
    stage, strategy = stage_on(model), made("osft")
    start = {name: weight.detach().float().clone() for name, weight in model.named_parameters()}
    strategy.begin(stage, memory)
    rows = steps(strategy, stage, memory, 4)
    bound = 1e-5 if dtype == torch.float32 else 0.03  # what bfloat16 shows of a weight
    for name in ("one.weight", "two.weight"):
        left, values, right = torch.linalg.svd(start[name], full_matrices=False)
        kept, weight = len(values) // 2, dict(model.named_parameters())[name].detach().float()
        assert (weight - start[name]).norm() > 0.1
        top = right[:kept].T
        torch.testing.assert_close(weight @ top, left[:, :kept] * values[:kept], rtol=0, atol=bound)
        torch.testing.assert_close(
            left[:, :kept].T @ weight, values[:kept, None] * right[:kept], rtol=0, atol=bound
        )
    assert (model.norm != start["norm"].to(dtype)).all() and (
        model.embed.weight != start["embed.weight"]
    ).all()
    assert all(0.5 < row["osft_share"] < 1 for row in rows)


def test_directions_that_nothing_before_uses() -> None:
    """Inputs 0 and 1 hold 99 % of the base; a gradient along 0, 2 and 3 learns along 2, then 3."""
    base = torch.diag(torch.tensor([7.0, 7.0, 1.0, 0.5]))
    protected = top_inputs(base, 0.6)
    assert protected.abs().sum(1).tolist() == pytest.approx([1, 1, 0, 0])
    gradient = torch.zeros(4, 4)
    gradient[0, 0], gradient[1, 2], gradient[2, 3] = 5.0, 3.0, 0.1
    rows, more = directions(gradient, protected, rank=1, energy=0.995)
    assert rows.abs().tolist() == [pytest.approx([0, 0, 1, 0])]
    assert more.abs().sum(1).tolist() == pytest.approx([0, 0, 1, 0])  # 34 of 34.01 are held
    rows, _ = directions(gradient, protected, rank=9, energy=0.995)
    assert rows.abs().sum(0).tolist() == pytest.approx([0, 0, 1, 1])  # never a protected one
    assert [one.numel() for one in directions(torch.zeros(4, 4), protected, 2, 0.995)] == [0, 0]


def test_a_stage_learns_in_its_own_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    model, memory = seeded(), {}
    stage = stage_on(model, items=[0] * 4, method=SimpleNamespace(batch=2))
    strategy: Any = made("keeplora", rank=1)
    generator = torch.Generator().manual_seed(3)
    monkeypatch.setattr(
        "holdfast.learning.retention.keeplora.objective_gradient",
        lambda *_: torch.randn(len(flat(model)), generator=generator),
    )
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    protected = top_inputs(start["one.weight"], 0.6)
    strategy.begin(stage, memory)
    steps(strategy, stage, memory, 3)
    change = model.one.weight.detach() - start["one.weight"]
    assert change.norm() > 0.1 and torch.linalg.matrix_rank(change, atol=1e-5) == 1
    assert (change @ protected).abs().max() < 1e-5
    assert torch.equal(model.norm, start["norm"]) and torch.equal(model.embed.weight, start["embed.weight"])
    left = strategy.end(stage, memory)["one.weight"]
    assert left.shape[1] > protected.shape[1]
    torch.testing.assert_close(left.T @ left, torch.eye(left.shape[1]), rtol=0, atol=1e-5)


class Adapters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lora_A = nn.ModuleDict({"default": nn.Linear(3, 4, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(4, 2, bias=False)})


class OfEmbeddings(nn.Module):
    """Rank 4, 7 words, width 3: the shapes that peft gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.lora_embedding_A = nn.ParameterDict({"default": torch.randn(4, 7)})
        self.lora_embedding_B = nn.ParameterDict({"default": torch.randn(3, 4)})


def test_directions_of_embeddings_are_rows_of_the_first_matrix() -> None:
    outer = nn.ModuleDict({"layer": OfEmbeddings()})
    stage, memory = stage_on(outer, inherited={"olora": {"used": torch.tensor(2)}}), dict[str, torch.Tensor]()
    (strategy := made("olora", rank=2, strength=1e-6)).begin(stage, memory)
    before = [one.detach().clone() for one in outer.parameters()]
    steps(strategy, stage, memory, 2)
    first, second = (one != old for one, old in zip(outer.parameters(), before, strict=True))
    assert first[2:].all() and not first[:2].any()
    assert second[:, 2:].all() and not second[:, :2].any()


def test_each_task_has_low_rank_directions_of_its_own() -> None:
    """The second stage trains rows 2 and 3 of A, pulled by λ sign(A_t A_oldᵀ) A_old."""
    torch.manual_seed(0)
    outer = nn.ModuleDict({"layer": Adapters()})
    stage, strategy, memory = (
        stage_on(outer, inherited={"olora": {"used": torch.tensor(2)}}),
        made("olora", rank=2, strength=0.25),
        {},
    )
    strategy.begin(stage, memory)
    a, b = (one.detach().clone() for one in outer.parameters())
    fill_gradients(outer, 0)
    given = [one.grad.clone() for one in outer.parameters()]  # type: ignore[union-attr]
    strategy.gradient(stage, memory, None)  # type: ignore[arg-type]
    found = [one.grad for one in outer.parameters()]
    pull = 0.25 * torch.sign(a[2:] @ a[:2].T) @ a[:2]
    torch.testing.assert_close(found[0], torch.cat([torch.zeros(2, 3), given[0][2:] + pull]))
    torch.testing.assert_close(found[1], torch.cat([torch.zeros(2, 2), given[1][:, 2:]], 1))
    steps(strategy, stage, memory, 2)
    after = list(outer.parameters())
    assert torch.equal(after[0][:2], a[:2]) and torch.equal(after[1][:, :2], b[:, :2])
    assert (after[0][2:] != a[2:]).all() and (after[1][:, 2:] != b[:, 2:]).all()
    assert strategy.end(stage, memory) == {"used": torch.tensor(4)}
    stage.inherited = {"olora": {"used": torch.tensor(4)}}
    with pytest.raises(HoldfastError, match="has room for 2 tasks of rank 2"):
        strategy.begin(stage, {})


@pytest.mark.parametrize(
    ("kind", "settings", "left", "message"),
    [
        ("cpo", {}, {"mask": torch.ones(5, dtype=torch.bool)}, "cpo .*its mask has 5 usable numbers"),
        ("l2", {"strength": 1, "to": "base"}, {"base": torch.ones(3)}, "l2 .*its base has 3"),
        ("ewc", {"strength": 1}, {"omega": torch.ones(40)}, "ewc .*its fisher has 0"),
        ("mas", {"strength": 1}, {"omega": torch.full((40,), torch.nan)}, "mas .*its omega"),
        ("si", {"strength": 1}, {"omega": torch.ones(3)}, "si .*its omega has 3"),
        ("fisher_merge", {}, {"fisher": torch.ones(1)}, "fisher_merge .*another model"),
        ("magmax", {}, {"base": torch.ones(40)}, "magmax .*its learned has 0"),
        ("ties", {}, {"base": torch.ones(3)}, "ties .*its base has 3"),
        ("dare", {}, {"base": torch.ones(3)}, "dare .*its base has 3"),
        ("keeplora", {}, {"one.weight": torch.ones(3, 1)}, "keeplora .*of one.weight with 4 inputs"),
        ("gpm", {}, {"one.weight": torch.ones(4, 1)}, "gpm .*directions of two.weight"),
        ("ogd", {}, {"0": torch.ones(2, 3)}, "ogd .*directions of task 0 are no 40 usable"),
        ("olora", {"rank": 2}, {}, None),
        ("olora", {"rank": 2}, {"rows": torch.ones(1)}, "olora .*how many slices"),
    ],
)
def test_what_another_model_left_is_refused_before_the_first_step(
    kind: str, settings: dict[str, Any], left: dict[str, torch.Tensor], message: str | None
) -> None:
    model = nn.ModuleDict({"layer": Adapters()}) if kind == "olora" else Net()
    stage, strategy = stage_on(model, inherited={kind: left}), made(kind, **settings)
    if message is None:  # nothing was left, as in the first stage
        strategy.begin(stage, {})
        return
    assert kind == "olora" or len(trained_parameters(stage.policy)) == 4
    with pytest.raises(HoldfastError, match=message) as raised:
        strategy.begin(stage, {})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "cpo", "share": 0}, "share"),
        ({"kind": "cpo", "control": "half"}, "control"),
        ({"kind": "ssu", "share": 1}, "share"),
        ({"kind": "hft", "share": 1.5}, "share"),
        ({"kind": "mofo", "share": True}, "must be a number"),
        ({"kind": "agem", "examples": 0}, "examples"),
        ({"kind": "gem", "margin": -1}, "margin"),
        ({"kind": "osft", "share": 1}, "share"),
        ({"kind": "keeplora", "rank": 0}, "rank"),
        ({"kind": "gpm", "energy": 1}, "energy"),
        ({"kind": "ogd", "directions": 0}, "directions"),
        ({"kind": "olora"}, "rank"),
        ({"kind": "reglora", "share": 0}, "share"),
        ({"kind": "wise", "alpha": 1}, "alpha"),
        ({"kind": "ema", "beta": 1}, "beta"),
        ({"kind": "magmax", "start": "end"}, "start"),
        ({"kind": "ties", "share": 2}, "share"),
        ({"kind": "dare", "share": 0}, "share"),
        ({"kind": "fisher_merge", "weight": 0}, "weight"),
        ({"kind": "ewc_sum", "strength": 1, "decay": 0.9}, "decay"),
        ({"kind": "mas"}, "strength"),
        ({"kind": "si", "strength": 1, "damping": 0}, "damping"),
        ({"kind": "mofo", "optimizer": "muon"}, "optimizer"),
        ({"kind": "rad", "max_tokens": 64}, "rad: max_tokens is about texts, and there are none"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_method(objective="sft", learning_rate=1e-3, retention=settings)


def test_strategies_that_do_not_go_with_a_method_are_refused() -> None:
    with pytest.raises(ValidationError, match="mofo filters by AdamW's momentum"):
        make_method(objective="sft", learning_rate=1e-3, optimizer="muon", retention={"kind": "mofo"})
    with pytest.raises(ValidationError, match="agem needs references or RFT"):
        make_method(objective="sft", target="sampled", learning_rate=1e-3, retention={"kind": "agem"})
