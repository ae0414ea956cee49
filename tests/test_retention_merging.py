"""Strategies that merge weights at a stage's end: what a stage begins with and what it leaves, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from holdfast.learning.retention import Strategy
from holdfast.policy.merging import ties
from test_retention_weights import flat, made, stage_on


def learned(strategy: Strategy, stage: Any, to: list[float]) -> tuple[list[float], list[float]]:
    """The weights a stage begins with, and those it leaves, where it learns these."""
    memory: dict[str, torch.Tensor] = {}
    strategy.begin(stage, memory)
    begun = flat(stage.policy.model).tolist()
    with torch.no_grad():
        for one, value in zip(stage.policy.model.parameters(), to, strict=True):
            one.fill_(value)
    left = strategy.end(stage, memory)
    stage.inherited = {strategy.name: left} if left else {}
    return begun, flat(stage.policy.model).tolist()


def two_weights(first: float, second: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(first)
        model[1].weight.fill_(second)
    return model


def test_between_the_weights_before_and_after() -> None:
    stage = stage_on(two_weights(1.0, 2.0))
    assert learned(made("wise", alpha=0.25), stage, [3.0, -2.0]) == ([1.0, 2.0], [1.5, 1.0])


def test_the_first_layers_go_back_further() -> None:
    """Of three layers' changes a quarter stays, five eighths, and all."""
    model = nn.ModuleDict(
        {"layers": nn.ModuleList(nn.Sequential(nn.Linear(1, 1, bias=False)) for _ in range(3))}
    )
    with torch.no_grad():
        [one.fill_(1.0) for one in model.parameters()]
    found = learned(made("lines", shallow=0.25), stage_on(model), [9.0, 9.0, -7.0])
    assert found == ([1.0, 1.0, 1.0], [3.0, 6.0, -7.0])


def test_the_largest_task_vector_wins_and_training_goes_on_from_what_was_learned() -> None:
    """Base (1, 1). Task vectors (2, -1), then, from what was learned, (-1, -3): merged (2, -3)."""
    stage, strategy = stage_on(two_weights(1.0, 1.0)), made("magmax", scale=0.5)
    assert learned(strategy, stage, [3.0, 0.0]) == ([1.0, 1.0], [2.0, 0.5])
    assert learned(strategy, stage, [0.0, -2.0]) == ([3.0, 0.0], [2.0, -0.5])
    assert learned(strategy, stage, [0.5, -1.0])[0] == [0.0, -2.0]
    from_base = made("magmax", start="base")
    stage = stage_on(two_weights(1.0, 1.0))
    learned(from_base, stage, [3.0, 0.0])
    assert learned(from_base, stage, [0.0, -2.0]) == ([1.0, 1.0], [3.0, -2.0])


def test_ties_elects_a_sign_among_tasks_that_all_began_with_the_base() -> None:
    """Task vectors (5, 1), (-3, -1), (-4, 2): of the first weight the mean of -3 and -4, of the other 1.5."""
    stage, strategy = stage_on(two_weights(1.0, 1.0)), made("ties", share=1.0)
    learned(strategy, stage, [6.0, 2.0])
    learned(strategy, stage, [-2.0, 0.0])
    begun, merged = learned(strategy, stage, [-3.0, 3.0])
    assert begun == [1.0, 1.0]
    assert merged == pytest.approx([1 - 3.5, 1 + 1.5])


def test_of_a_sum_of_nothing_no_sign_is_elected() -> None:
    """Task vectors (2, 1) and (-2, 3): the first weight stays the base's, as `holdfast merge` has it."""
    stage, strategy = stage_on(two_weights(1.0, 1.0)), made("ties", share=1.0)
    learned(strategy, stage, [3.0, 2.0])
    assert learned(strategy, stage, [-1.0, 4.0])[1] == [1.0, 3.0]
    assert ties([torch.tensor([2.0, 1.0]), torch.tensor([-2.0, 3.0])], 1.0).tolist() == [0.0, 2.0]


def test_what_is_left_of_task_vectors_is_added_up() -> None:
    """All that is kept: the sum. A half of it: 0 or twice as much, other weights in each stage."""
    stage, strategy = stage_on(two_weights(1.0, 1.0)), made("dare", share=1.0, scale=0.5)
    learned(strategy, stage, [3.0, 0.0])
    assert learned(strategy, stage, [0.0, 5.0]) == ([1.0, 1.0], [1 + 0.5 * (2 - 1), 1 + 0.5 * (-1 + 4)])
    kept = []
    for name in range(8):
        stage = stage_on(two_weights(0.0, 0.0), stream=(name,))
        kept.append(tuple(learned(made("dare", share=0.5), stage, [1.0, 1.0])[1]))
    assert {value for pair in kept for value in pair} == {0.0, 2.0} and len(set(kept)) > 2


def test_the_average_of_a_stage_by_hand() -> None:
    """β 0.5 from weight 0: after 4 and 8 it is 2, then 5."""
    model, strategy, memory = two_weights(0.0, 0.0), made("ema", beta=0.5), {}
    stage, optimizer = stage_on(model), torch.optim.AdamW(model.parameters())
    strategy.begin(stage, memory)
    for value in (4.0, 8.0):
        with torch.no_grad():
            [one.fill_(value) for one in model.parameters()]
        strategy.stepped(stage, memory, optimizer)
    strategy.end(stage, memory)
    assert flat(model).tolist() == [5.0, 5.0]


def test_fisher_weighted_merging_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """λ 0.4: (0.4·3·5 + 0.6·1·1) / (0.4·3 + 0.6·1) = 6.6 / 1.8; where neither matters 0.6·1 + 0.4·5."""
    fishers = iter((torch.tensor([1.0, 0.0]), torch.tensor([3.0, 0.0])))
    monkeypatch.setattr(
        "holdfast.learning.retention.fisher_merge.mean_over_answers", lambda *_: next(fishers)
    )
    stage, strategy = stage_on(two_weights(0.0, 0.0)), made("fisher_merge")
    assert learned(strategy, stage, [1.0, 1.0])[1] == [1.0, 1.0]
    assert learned(strategy, stage, [5.0, 5.0])[1] == pytest.approx([6.6 / 1.8, 2.6])
