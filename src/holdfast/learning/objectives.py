"""What a step optimises, and the simplest of it: the likelihood of reference answers.

The others: `policygradient.py` (RFT), `sampled_targets.py` (the likelihood of what a policy wrote itself),
`distillation.py` (self-distillation). All give the loop the same thing: groups of completions, and a loss
that is a sum over their tokens. The loop divides it by the step's number of tokens, so a step that is split
into micro-batches has the same gradient as one that is not.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from holdfast.generate.rollouts import Item, encode_items
from holdfast.learning.groups import Groups
from holdfast.learning.methods import SFT
from holdfast.policy.encode import Unfit
from holdfast.tasks.prompts import Style, Target, render_target

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy

EAFT_ENTRIES = 20  # K, the entries whose entropy weighs a token


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


class Likelihood(Objective):
    """Supervised fine-tuning: the log-likelihood of the reference answer."""

    def __init__(self, method: SFT, templates: Mapping[Style, str]) -> None:
        self.method, self.templates = method, templates

    def collect(self, policy: Policy, items: Sequence[Item], stream: tuple[object, ...]) -> Groups:
        groups = with_references(policy, items, self.templates, self.method.style, self.method.target)
        return groups.logged({"length": groups.completions.lengths_BG.float().mean().item()})

    def loss(self, policy: Policy, groups: Groups) -> LossSums:
        return likelihood_loss(policy, groups, self.method.loss, self.method.eaft_alpha)


def with_references(
    policy: Policy, items: Sequence[Item], templates: Mapping[Style, str], style: Style, target: Target
) -> Groups:
    """Examples with what SFT learns to write, as groups of one.

    Raises:
        InputError: the model cannot take one, which the message names, or it has no such target.
    """
    try:
        completions = policy.encode_completions(
            [render_target(example, style, target) for _, example in items]
        )
    except Unfit as problem:
        raise problem.named([f"{task.name} {example.named}" for task, example in items]) from None
    prompts = encode_items(policy, items, style, templates)
    return Groups(prompts, completions, torch.ones(len(items), 1), items=tuple(items))


def likelihood_loss(
    policy: Policy, groups: Groups, loss: Literal["nll", "dft", "eaft"] = "nll", alpha: float = 1.0
) -> LossSums:
    """The negative log-likelihood of completions, summed over their tokens.

    Args:
        loss: `dft` weighs each token by its probability, as a number without gradient: dynamic fine-tuning
            (Wu et al., arXiv 2508.05629, eq. 9). `eaft` weighs it by the entropy of the K most likely entries
            over ln K to the power of `alpha`, K 20, likewise: entropy-adaptive fine-tuning (Diao et al.,
            arXiv 2601.02151). The K are a distribution of their own, as in the released code.
    """
    top = EAFT_ENTRIES if loss == "eaft" else None
    out = policy.group_logprobs(groups.prompts, groups.completions, top=top)
    mask = groups.completions.mask_BGR.to(out.logprobs_BGR.dtype)
    weight = mask
    if loss == "dft":
        weight = mask * out.logprobs_BGR.detach().exp()
    elif loss == "eaft":
        assert out.top_entropy_BGR is not None, "asked for"
        weight = mask * (out.top_entropy_BGR / math.log(EAFT_ENTRIES)) ** alpha
    return LossSums(-(out.logprobs_BGR * weight).sum(), float((out.entropy_BGR * mask).sum()))
