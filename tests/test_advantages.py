"""Advantage estimators, by hand."""

import math

import torch

from holdfast.learning import advantages
from holdfast.learning.methods import make_method


def advantages_of(objective, rewards_BG, greedy_B=None, **settings):
    method = make_method(objective=objective, learning_rate=1e-3, **settings)
    return method.advantages(rewards_BG, greedy_B)


REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1]])


def test_grpo():
    out = advantages_of("grpo", REWARDS)
    std = math.sqrt(4 * 0.25 / 3)  # sample standard deviation
    assert torch.allclose(out[0], torch.tensor([0.5, -0.5, -0.5, 0.5]) / std, atol=1e-5)
    assert out[1].eq(0).all(), "equal rewards give exactly zero"
    assert torch.allclose(
        advantages_of("grpo", REWARDS, normalise_std=False)[0], torch.tensor([0.5, -0.5, -0.5, 0.5])
    )


def test_rloo_leaves_one_out():
    out = advantages_of("rloo", REWARDS)
    assert torch.allclose(out[0], torch.tensor([1 - 1 / 3, -2 / 3, -2 / 3, 1 - 1 / 3]))
    assert out[1].eq(0).all()


def test_remax_subtracts_the_greedy_reward():
    out = advantages_of("remax", REWARDS, torch.tensor([1.0, 0.0]))
    assert torch.allclose(out, torch.tensor([[0.0, -1.0, -1.0, 0.0], [0.1, 0.1, 0.1, 0.1]]))


def test_reinforce_is_the_reward():
    assert torch.equal(advantages_of("reinforce", REWARDS), REWARDS)


def test_zero_variance_means_exactly_equal():
    nearly = torch.tensor([[0.1, 0.1 + 1e-6], [0.7, 0.7]])
    assert advantages.zero_variance(nearly).tolist() == [False, True]
