"""What a step optimises.

There are `likelihood.py` (SFT on references), `sampled_targets.py` (on what a policy wrote itself),
`policygradient.py` (RFT) and `distillation.py` (self-distillation). All give the loop the same thing: groups
of completions, and a loss that is a sum over their tokens. The loop divides it by the step's number of
tokens, so a step that is split into micro-batches has the same gradient as one that is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from holdfast.generate.rollouts import Item
from holdfast.learning.groups import Groups

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


@dataclass(frozen=True)
class LossSums:
    """Sums over the completion tokens of a part of a step; only `loss` carries a gradient."""

    loss: torch.Tensor
    entropy: float
    kl: float | None = None  # of losses that have one
    clipped: float | None = None


class Objective(ABC):
    """What learns: the runtime side of a `Method`, made by its `make` at the start of a stage.

    Attributes:
        memory: tensors that it goes on with; a step checkpoint holds them.
    """

    @property
    def memory(self) -> Mapping[str, torch.Tensor]:
        return {}

    def recall(self, policy: Policy, memory: Mapping[str, torch.Tensor]) -> None:  # noqa: B027
        """Take up what `memory` held when the checkpoint was written."""

    def begin(self, policy: Policy, iteration: int) -> None:  # noqa: B027
        """Before the batch of an iteration is collected."""

    @abstractmethod
    def collect(self, policy: Policy, items: Sequence[Item], stream: tuple[object, ...]) -> Groups:
        """What an iteration learns from, by the policy as it is.

        Args:
            items: the batch.
            stream: names of the iteration's random stream.

        Raises:
            NotFiniteError: the policy's output is not finite; the loop skips the iteration.
        """

    def weighed(self, groups: Groups) -> Groups:
        """The groups of a step, with weights of tokens where its loss is no plain mean over tokens."""
        return groups

    def chosen(self, groups: Groups) -> Groups:
        """Those of the collected groups that are learned from."""
        return groups

    def teaching(self, groups: Groups) -> list[int]:
        """The rows of a step whose loss has a gradient; the others need not be passed through the model."""
        return list(range(len(groups.prompts)))

    @abstractmethod
    def loss(self, policy: Policy, groups: Groups) -> LossSums:
        """The loss of a part of a step, summed over completion tokens, with its gradient.

        Raises:
            NotFiniteError: with the row of the part whose output is not finite.
        """

    def finish(self, totals: Mapping[str, float]) -> None:  # noqa: B027
        """After the last step of a stage, told what `learn` returns as totals.

        Raises:
            HoldfastError: there was nothing to learn from.
        """
