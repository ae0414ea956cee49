"""The policy as it was at another moment, without a second model: what KL penalties and drift refer to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from holdfast.policy.batch import Completions, GroupLogprobs, Prompts
from holdfast.policy.settings import Sampling

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


class Reference:
    """A policy with some of its weights replaced while it computes.

    Args:
        policy: goes on being trained.
        weights: what stands in, by parameter name; as large as the trained weights, and no larger.
    """

    def __init__(self, policy: Policy, weights: Mapping[str, torch.Tensor]):
        self.policy, self.weights = policy, weights

    @torch.no_grad()
    def group_logprobs(
        self, prompts: Prompts, completions: Completions, temperature: float = 1.0
    ) -> GroupLogprobs:
        """As `Policy.group_logprobs`, without gradient."""
        with self.in_place():
            return self.policy.group_logprobs(prompts, completions, temperature)

    def group_distributions(
        self, prompts: Prompts, completions: Completions, temperature: float = 1.0
    ) -> torch.Tensor:
        """As `Policy.group_distributions`."""
        with self.in_place():
            return self.policy.group_distributions(prompts, completions, temperature)

    def sample(
        self, prompts: Prompts, group_size: int, sampling: Sampling, generator: torch.Generator
    ) -> Completions:
        """As `Policy.sample`."""
        with self.in_place():
            return self.policy.sample(prompts, group_size, sampling, generator)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the policy itself has these weights."""
        parameters = dict(self.policy.model.named_parameters())
        own = {name: parameters[name].data for name in self.weights}
        try:
            for name, weight in self.weights.items():
                parameters[name].data = weight
            yield
        finally:
            for name, weight in own.items():
                parameters[name].data = weight
