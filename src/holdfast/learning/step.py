"""One optimiser step: loss and gradient of some groups, changed by strategies, clipped and applied."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.objectives import LossSums, Objective
from holdfast.learning.optimizer import add_up_in_float32, clip
from holdfast.policy.batch import NotFiniteError
from holdfast.policy.gradients import trained_parameters

if TYPE_CHECKING:
    from holdfast.learning.retention.running import Strategies
    from holdfast.policy.policy import Policy

log = logging.getLogger(__name__)


def step(
    policy: Policy,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    groups: Groups,
    method: Method,
    rate: float,
    strategies: Strategies | None = None,
) -> dict[str, float]:
    """One optimiser step: the mean of the loss, its gradient changed by strategies and clipped by norm.

    A step whose log-probabilities, loss or gradient are not finite leaves the weights alone and says
    `skipped`; a warning names the example whose log-probabilities they are.
    """
    tokens, groups = groups.completions.mask_BGR.sum().item(), objective.weighed(groups)
    trained, places = trained_parameters(policy), to_pass(objective, groups)
    taught = groups.rows(places)
    costs = taught.computed() if policy.shards.count > 1 else [1] * len(places)  # one shard has them all
    backward = _Backward(policy, objective, optimizer, taught, tokens, method.micro_batch)
    sums: list[LossSums] = []
    try:
        for of_shard in policy.shards.gradients(trained, costs, backward.shard):
            sums += of_shard
        if taught is not groups:
            sums.insert(0, LossSums(torch.zeros(()), groups.drawn_entropy(besides=places)))
    except NotFiniteError as error:
        log.warning("A step is skipped for %s. %s", groups.name(places[error.index]), error)
    said = strategies.gradient(groups) if strategies and sums else {}
    norm = clip(trained, method.clip_grad, policy.shards)
    loss = sum(part.loss.item() for part in sums) / tokens
    finite = bool(sums) and math.isfinite(norm) and math.isfinite(loss)
    if finite:
        rate = strategies.rate(rate, loss) if strategies else rate
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        said |= strategies.stepped(optimizer) if strategies else {}
    row = {
        "loss": loss if finite else 0.0,
        "entropy": sum(part.entropy for part in sums) / tokens,
        "grad_norm": norm if finite else 0.0,
        "learning_rate": rate,
        "skipped": float(not finite),
        **_token_means(sums, tokens),
        **said,
    }
    return row if finite else {key: value if math.isfinite(value) else 0.0 for key, value in row.items()}


def to_pass(objective: Objective, groups: Groups) -> list[int]:
    """The rows that a step passes through the model: those that teach, and where none does, the first.

    One with a picture, too, where there is one: else the tower had no gradient in place of zeros, and the
    optimiser would pass it over, decay and momentum included. All, where prompts were computed in sampling,
    and leaving rows out would save less than that; else what sampling computed is let go of.
    """
    rows, pictures = objective.teaching(groups) or [0], groups.prompts.images
    if any(pictures) and not any(pictures[row] for row in rows):
        rows = sorted([*rows, list(map(bool, pictures)).index(True)])
    if groups.prefill is not None:
        if 3 * len(rows) > 2 * len(groups.prompts):  # a pass back costs two forward
            return list(range(len(groups.prompts)))
        groups.prefill.release()
    return rows


def _token_means(sums: Sequence[LossSums], tokens: float) -> dict[str, float]:
    """Means over a step's tokens of what only some losses have: `kl` and `clipped`."""
    means = {}
    for name in ("kl", "clipped"):
        amounts = [amount for part in sums if (amount := getattr(part, name)) is not None]
        if amounts:
            means[name] = sum(amounts) / tokens
    return means


@dataclass(frozen=True)
class _Backward:
    """The backward pass of a step, which leaves gradients in the parameters.

    Attributes:
        groups: the prompts that are passed through the model.
        tokens: of the whole step, over which its loss is the mean.
        micro_batch: the most prompts of one forward pass; None: as many as the token budget allows.
    """

    policy: Policy
    objective: Objective
    optimizer: torch.optim.Optimizer
    groups: Groups
    tokens: float
    micro_batch: int | None

    def shard(self, rows: range) -> list[LossSums]:
        """The loss of some rows, in parts; where memory runs out, from the beginning in smaller ones."""
        return self.policy.budget.attempt(partial(self._parts, self.groups.rows(rows), rows.start))

    def _parts(self, own: Groups, first: int) -> list[LossSums]:
        """One forward and backward pass after the other.

        Args:
            own: the groups of a shard, whose place in the step is `first`.

        Raises:
            NotFiniteError: with the place of the row in the step.
        """
        shards = self.policy.shards
        self.optimizer.zero_grad(set_to_none=True)
        sums = list[LossSums]()
        parts = own.within(self.policy.budget, self.micro_batch)
        add_up_in_float32(trained_parameters(self.policy), len(parts) * shards.count)
        for number, rows in enumerate(parts, 1):
            shards.last = number == len(parts)
            try:
                sums.append(self.objective.loss(self.policy, own.rows(rows)))
            except NotFiniteError as error:
                raise NotFiniteError(first + rows.start + error.index) from error
            (sums[-1].loss / self.tokens).backward()
        return sums
