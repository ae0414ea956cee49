"""Riemannian walk by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from test_retention_weights import made, stage_on


def test_the_walk_by_hand() -> None:
    """Two steps scored together, a third alone; γ and ξ 0.5, λ 2. The second weight's way raised the loss."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    one, two = model.parameters()
    stage, memory = stage_on(model), dict[str, torch.Tensor]()
    strategy: Any = made("rwalk", strength=2.0, decay=0.5, every=2, damping=0.5)

    def moved(gradients: tuple[float, float], weights: tuple[float, float]) -> dict[str, float]:
        """A step from gradients to weights."""
        one.grad, two.grad = (torch.full((1, 1), number) for number in gradients)
        said = strategy.gradient(stage, memory, None)
        with torch.no_grad():
            one.fill_(weights[0]), two.fill_(weights[1])
        strategy.stepped(stage, memory, torch.optim.AdamW(model.parameters()))
        return said

    with torch.no_grad():
        one.fill_(1.0), two.fill_(0.0)
    strategy.begin(stage, memory)
    assert moved((2.0, 1.0), (0.5, 1.0)) == {}
    strategy.gradient(stage, memory, None)  # of a step that is skipped
    moved((1.0, 0.0), (0.2, 1.0))
    moved((-1.0, 0.0), (0.6, 1.0))
    left = strategy.end(stage, memory)
    fisher = [((0.5 * 4) * 0.5 + 0.5 * 1) * 0.5 + 0.5 * 1, 0.5 * 1 * 0.5 * 0.5]
    score = (1.0 + 0.3) / (0.5 * 1.5 * 0.8**2 + 0.5) + 0.4 / (0.5 * 1.25 * 0.4**2 + 0.5)
    assert left["fisher"].tolist() == pytest.approx(fisher)
    assert left["score"].tolist() == pytest.approx([score, 0.0])

    stage.inherited, memory = {"rwalk": left}, {}
    strategy.begin(stage, memory)
    assert memory["importance"].tolist() == pytest.approx([2.0, fisher[1] / fisher[0]])
    moved((0.0, 0.0), (0.6, 2.0))
    assert one.grad is not None and two.grad is not None
    moved((0.0, -1.0), (0.6, 2.0))
    assert one.grad.item() == 0 and two.grad.item() == pytest.approx(-1 + 2 * fisher[1] / fisher[0])
    left = strategy.end(stage, memory)
    assert left["score"].tolist() == pytest.approx(
        [score / 2, 0.0]
    )  # the mean with a stage that went nowhere
    assert left["fisher"].tolist() == pytest.approx(
        [fisher[0] / 4, fisher[1] / 4 + 0.5 * 1]
    )  # g without the pull


def test_the_importance_hangs_on_no_scale() -> None:
    """Where weights move as little as in post-training, neither ξ nor the size of the loss matters."""

    def importance(damping: float, scale: float) -> list[float]:
        model = nn.Linear(2, 1, bias=False)
        nn.init.zeros_(model.weight)  # beside other numbers, steps this small would be rounded
        stage, memory = stage_on(model), dict[str, torch.Tensor]()
        strategy: Any = made("rwalk", strength=1.0, damping=damping)
        strategy.begin(stage, memory)
        for number in range(12):
            model.weight.grad = scale * torch.tensor([[1.0, 0.5 + 0.1 * number]])
            strategy.gradient(stage, memory, None)
            with torch.no_grad():
                model.weight.sub_(1e-5 * torch.tensor([[1.0, 1.0]]))
            strategy.stepped(stage, memory, torch.optim.AdamW(model.parameters()))
        stage.inherited = {"rwalk": strategy.end(stage, memory)}
        strategy.begin(stage, memory := dict[str, torch.Tensor]())
        return memory["importance"].tolist()

    expected = importance(0.1, 1.0)
    assert max(expected) == pytest.approx(2.0) and min(expected) < 1.7
    assert importance(1.0, 1.0) == pytest.approx(expected, rel=1e-3)
    assert importance(0.1, 0.01) == pytest.approx(expected, rel=1e-3)
