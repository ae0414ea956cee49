"""GEM, GPM and OGD, which project gradients, and RegLoRA: by hand, and against a slow solution."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from holdfast.errors import HoldfastError
from holdfast.learning.retention.gem import GEM, least, project
from holdfast.learning.retention.gpm import extended
from holdfast.learning.retention.ogd import beside, within
from holdfast.learning.retention.passes import drawn_answers
from holdfast.policy.gradients import completion_gradients, trained_matrices
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from test_learning import items_of, sft, stage_of
from test_retention_weights import Adapters, flat, made, seeded, stage_on, steps

G1, G2 = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("old", "margin", "expected"),
    [
        ([], 0.0, [-1, -2, 3, 0]),
        ([G1], 0.0, [0, -2, 3, 0]),  # as with A-GEM
        ([-G1], 0.5, [-1, -2, 3, 0]),  # it points against none
        ([G1, G2], 0.0, [0.5, -0.5, 3, 0]),  # v = (0, 1.5): without v >= 0 it were (-1, 2)
        ([G1, G2], 0.5, [0.75, -0.75, 3, 0]),  # v = (0.5, 1.25)
        ([G2, 2 * G2], 0.0, [0.5, -0.5, 3, 0]),  # twice the same direction
    ],
)
def test_projection_on_several_tasks_by_hand(
    old: list[torch.Tensor], margin: float, expected: list[float]
) -> None:
    """g = (-1, -2, 3, 0), g_1 = (1, 0, 0, 0), g_2 = (1, 1, 0, 0)."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False))
    given = torch.tensor([-1.0, -2.0, 3.0, 0.0])
    model[0].weight.grad, model[1].weight.grad = given[None, :2].clone(), given[None, 2:].clone()
    share = project(stage_on(model), old, margin)
    found = torch.cat([one.grad.flatten() for one in model.parameters()])  # type: ignore[union-attr]
    assert found.tolist() == pytest.approx(expected)
    assert share == pytest.approx(float((found - given).norm() / given.norm()))


@pytest.mark.parametrize("seed", range(4))
def test_the_least_is_found(seed: int) -> None:
    """Of all choices of numbers that are free, one has neither a number below 0 nor a slope down."""
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(
        5, 4 if seed else 5, generator=generator, dtype=torch.float64
    )  # or without an inverse
    factors = factors / factors.norm(dim=1, keepdim=True)
    products, slopes = (
        factors @ factors.T,
        factors @ torch.randn(factors.shape[1], generator=generator).double(),
    )

    def value(found: torch.Tensor) -> float:
        return float(found @ products @ found / 2 + slopes @ found)

    values = [0.0]
    for chosen in product((False, True), repeat=5):
        free, one = torch.tensor(chosen), torch.zeros(5, dtype=torch.float64)
        one[free] = -torch.linalg.pinv(products[free][:, free]) @ slopes[free]
        values += [value(one)] * bool((one >= 0).all())
    found = least(products, slopes)
    assert (found >= 0).all() and value(found) == pytest.approx(min(values), abs=1e-9)


def test_gradients_of_so_many_tasks_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three tasks two are drawn, other ones each time; examples are shared out, one at least of each."""
    asked: list[tuple[str, int]] = []

    def gradient(stage: Any, items: list[int], names: tuple[object, ...]) -> None:
        asked.append((str(names[-1]), len(items)))

    monkeypatch.setattr("holdfast.learning.retention.gem.objective_gradient", gradient)
    earlier = {name: [0] * 9 for name in "abc"}
    stage = stage_on(nn.Linear(1, 1), earlier=earlier, method=None)
    strategy, memory = made("gem", tasks=2, examples=7), {}
    assert isinstance(strategy, GEM) and strategy.copies == 4
    for _ in range(8):
        assert strategy.gradient(stage, memory, None) == {"gem_share": 0.0}  # type: ignore[arg-type]
    assert {size for _, size in asked} == {3} and {name for name, _ in asked} == {"a", "b", "c"}
    assert len(asked) == 16
    assert made("gem").gradient(stage_on(nn.Linear(1, 1)), {}, None) == {}  # type: ignore[arg-type]


def test_directions_that_hold_the_energy_by_hand() -> None:
    """Energies 7, 2, 1: 65 % are in the first direction, 85 % in two; then a task all of whose is in them."""
    moment, nothing = torch.diag(torch.tensor([2.0, 0.0, 7.0, 1.0])), torch.zeros(4, 0)
    one = extended(nothing, moment, 0.65)
    assert one.abs().tolist() == [[0], [0], [1], [0]]
    two = extended(one, moment, 0.85)
    assert two.abs().tolist() == [[0, 1], [0, 0], [1, 0], [0, 0]]
    inside = torch.tensor([1.0, 0.0, 3.0, 0.0])
    assert torch.equal(extended(two, torch.outer(inside, inside), 0.99), two)
    assert extended(nothing, torch.zeros(4, 4), 0.99).shape == (4, 0)  # nothing went in
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 4, generator=generator)
    more = extended(one, inputs.T @ inputs, 0.999)
    torch.testing.assert_close(more.T @ more, torch.eye(more.shape[1]), rtol=0, atol=1e-5)
    assert (inputs - inputs @ more @ more.T).square().sum() <= 0.001 * inputs.square().sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_earlier_inputs_become_stays(dtype: torch.dtype) -> None:
    """W x of inputs in M, while others' change, and what is no matrix; not in the first stage."""
    model, memory = seeded(dtype), {}
    stage, strategy = stage_on(model), made("gpm")
    strategy.begin(stage, memory)
    assert steps(strategy, stage, memory, 1) == [{}] and not memory
    used, _ = torch.linalg.qr(torch.randn(4, 2))
    stage.inherited = {"gpm": dict.fromkeys(trained_matrices(model), used)}
    start = {name: weight.detach().float().clone() for name, weight in model.named_parameters()}
    strategy.begin(stage, memory)
    rows = steps(strategy, stage, memory, 4)
    bound = 1e-5 if dtype == torch.float32 else 0.03  # what bfloat16 shows of a weight
    for name in trained_matrices(model):
        change = dict(model.named_parameters())[name].detach().float() - start[name]
        assert change.norm() > 0.1 and (change @ used).abs().max() < bound
    assert all(0.3 < row["gpm_share"] < 1 for row in rows)
    assert torch.equal(model.norm.float(), start["norm"])


def test_what_a_vector_has_beside_others_by_hand() -> None:
    bases = [torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.6, 0.8, 0.0]])]
    vector = torch.tensor([5.0, 3.0, 4.0, 2.0])
    assert within(bases, vector).tolist() == pytest.approx([5, 3, 4, 0])
    new = beside(bases, vector)
    assert new is not None and new.tolist() == pytest.approx([0, 0, 0, 1], abs=1e-6)
    assert beside(bases, torch.tensor([1.0, -3.0, -4.0, 1e-4])) is None  # in them, but for rounding
    assert beside([], torch.zeros(4)) is None and within([], vector).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_do_not_move_in_directions_of_earlier_tasks(dtype: torch.dtype) -> None:
    """Nor gradients; all else learns, and in the first stage everything."""
    model, memory = seeded(dtype), {}
    stage, strategy = stage_on(model), made("ogd")
    strategy.begin(stage, memory)
    assert steps(strategy, stage, memory, 1) == [{}] and not memory
    basis, _ = torch.linalg.qr(torch.randn(len(flat(model)), 5))
    stage.inherited = {"ogd": {"0": basis.T[:3], "1": basis.T[3:]}}
    start = flat(model)
    strategy.begin(stage, memory)
    rows = steps(strategy, stage, memory, 4)
    change = flat(model) - start
    bound = 1e-5 if dtype == torch.float32 else 0.03  # what bfloat16 shows of a weight
    assert change.norm() > 0.5 and (basis.T @ change).abs().max() < bound
    assert all(0.1 < row["ogd_share"] < 1 for row in rows)
    assert (basis.T @ torch.cat([one.grad.float().flatten() for one in model.parameters()])).abs().max() < (
        1e-5 if dtype == torch.float32 else 0.1
    )


@pytest.mark.slow
def test_answers_of_earlier_tasks_stay_as_likely_to_first_order() -> None:
    """Directions are gradients of answers; tasks share the room alike, and each keeps the first it left."""
    policy = Policy.load("embedded", ModelSettings())
    items = {name: items_of(name, 6) for name in ("photos", "reading", "counting")}
    strategy, left = made("ogd", directions=6, max_tokens=4), dict[str, torch.Tensor]()
    sizes = []
    for number, (name, own) in enumerate(items.items()):
        stage = stage_of(policy, sft(batch=2), own, 1, stream=("s", number), inherited={"ogd": left})
        memory: dict[str, torch.Tensor] = {}
        strategy.begin(stage, memory)
        before, left = left, strategy.end(stage, memory)
        sizes.append([len(one) for one in left.values()])
        assert all(torch.equal(left[task], before[task][: len(left[task])]) for task in before)
        assert stage.spent["flops"] > 0, name
    assert sizes == [[6], [3, 3], [2, 2, 2]]
    basis = torch.cat(list(left.values()))
    torch.testing.assert_close(basis.double() @ basis.double().T, torch.eye(6).double(), rtol=0, atol=1e-6)
    # The gradient of an answer that was drawn lies in them.
    stage = stage_of(policy, sft(batch=2), items["photos"], 1, stream=("s", 0))
    for answered in drawn_answers(stage, "ogd", items["photos"], 2, 4):
        ((_, gradient),) = completion_gradients(policy, *answered, 1.0)
        assert (gradient - within([basis], gradient)).norm() < 1e-3 * gradient.norm()


def test_a_pull_where_earlier_tasks_changed_most_is_a_mean_over_matrices() -> None:
    found = []
    for others in (0, 3):
        model = nn.ModuleDict({f"layer{number}": Adapters() for number in range(1 + others)})
        stage, strategy, memory = stage_on(model), made("reglora", strength=8.0), dict[str, torch.Tensor]()
        places = {f"layer{number}.lora_A.default.weight": torch.tensor([1]) for number in range(1 + others)}
        stage.inherited = {"reglora": places}
        strategy.begin(stage, memory)
        down, up = model["layer0"].lora_A["default"].weight, model["layer0"].lora_B["default"].weight
        with torch.no_grad():
            down.fill_(0.5), up.fill_(2.0)
        strategy.gradient(stage, memory, None)  # type: ignore[arg-type]
        found.append(down.grad)
    assert found[0].any() and torch.equal(found[1], found[0] / 4)


def test_where_earlier_tasks_changed_most_by_hand() -> None:
    """ΔW = B A − B_0 A_0 of 2 x 3 entries; a third of them is held, and pulled by λ sign(ΔW) / 2 or / 4."""
    model = nn.ModuleDict({"layer": Adapters()})
    down, up = model["layer"].lora_A["default"].weight, model["layer"].lora_B["default"].weight

    def put(rows: list[list[float]]) -> None:
        """B A is these two rows, by two of the four rows of A."""
        with torch.no_grad():
            down.zero_(), up.zero_()
            down[:2], up[0, 0], up[1, 1] = torch.tensor(rows), 1.0, 1.0

    name, strategy, memory = "layer.lora_A.default.weight", made("reglora", share=0.4, strength=8.0), {}
    stage = stage_on(model)
    put([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    strategy.begin(stage, memory)
    assert strategy.gradient(stage, memory, None) == {}  # type: ignore[arg-type]
    put([[1.0, -3.0, 0.0], [0.5, 0.0, 2.0]])  # what it began with does not count
    left = strategy.end(stage, memory)
    assert left[name].tolist() == [1, 5]

    stage.inherited, memory = {"reglora": left}, {}
    strategy.begin(stage, memory)
    down.grad, up.grad = torch.zeros_like(down), torch.zeros_like(up)
    assert strategy.gradient(stage, memory, None) == {"reglora_share": 0.0}  # type: ignore[arg-type]
    put([[7.0, -4.0, 0.0], [0.5, 0.0, 3.0]])
    before = flat(model).requires_grad_()
    strategy.gradient(stage, memory, None)  # type: ignore[arg-type]
    a, b = before[:12].view(4, 3), before[12:].view(2, 4)
    change = b @ a - torch.tensor([[1.0, -3.0, 0.0], [0.5, 0.0, 2.0]])
    (8.0 * (change[0, 1].abs() + change[1, 2].abs()) / 2).backward()
    assert torch.equal(torch.cat([down.grad.flatten(), up.grad.flatten()]), before.grad)  # type: ignore[union-attr]
    assert strategy.end(stage, memory)[name].tolist() == [0, 1, 5]  # +6 at 0, -1 at 1, +1 at 5

    for wrong in ({"other": left[name]}, {name: torch.tensor([6])}):
        stage.inherited = {"reglora": wrong}
        with pytest.raises(HoldfastError, match=r"reglora .*no places in layer.*with 6 entries"):
            strategy.begin(stage, {})
