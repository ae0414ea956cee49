"""Reinforcement fine-tuning: the policy gradient on groups that are sampled and graded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from holdfast.errors import HoldfastError
from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import Item, Rollouts, encode_items, roll_out
from holdfast.learning import advantages
from holdfast.learning.groups import Groups, naming
from holdfast.learning.methods import RFT
from holdfast.learning.objectives import LossSums, Objective
from holdfast.learning.spent import Spent
from holdfast.learning.surrogates import Sampled, truncated_ratio
from holdfast.policy.batch import Completions
from holdfast.rng import stream as named_stream
from holdfast.tasks.prompts import Style
from holdfast.tasks.scoring import RIGHT

if TYPE_CHECKING:
    from holdfast.generate.served import ServedGenerator
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference

# The most that a token's divergence counts, beyond which it has no gradient: one token cannot blow up a step.
# As in the study's code (EasyR1, `verl/trainer/core_algos.py`): of the k3 value, not of the log-ratio.
KL_CLAMP = 10.0


@dataclass(frozen=True)
class _Drawn:
    """Roll-outs to learn from.

    Attributes:
        items: the examples that they answer, one for each prompt.
        spent: what drawing took, with what was drawn and not kept.
        draws: batches that were drawn.
    """

    items: Sequence[Item]
    rollouts: Rollouts
    spent: Spent
    draws: int = 1


class PolicyGradient(Objective):
    """Reinforcement fine-tuning: sample groups, grade them, push by advantage.

    The loss is the method's surrogate (`surrogates.py`) with one advantage per completion, averaged as
    `loss_mean` says, plus `kl_coef` times the k3 estimate of the KL divergence to a reference
    (Schulman, "Approximating KL divergence", 2020).

    Args:
        sampler: draws in the policy's place. Old log-probabilities are the policy's own all the same, and
            what a token counts is corrected for who drew it (`surrogates.truncated_ratio`).
    """

    def __init__(
        self,
        method: RFT,
        templates: Mapping[Style, str],
        reference: Policy | Reference | None,
        pool: Sequence[Item] = (),
        sampler: ServedGenerator | None = None,
    ) -> None:
        self.method, self.templates, self.reference, self.pool = method, templates, reference, pool
        self.sampler = sampler
        # A surrogate or a loss of the user's own may push what has no advantage.
        ours = type(method).surrogate.__module__.startswith("holdfast.")
        self._pushes_by_advantage = ours and type(self).loss is PolicyGradient.loss

    def begin(self, policy: Policy, iteration: int) -> None:
        if self.sampler is not None:
            self.sampler.refresh()

    def collect(self, policy: Policy, items: Sequence[Item], stream: tuple[object, ...]) -> Groups:
        method = self.method
        drawn = self._drawn(policy, items, stream)
        rollouts, sampled = drawn.rollouts, slice(0, method.group_size)
        completions = rollouts.completions.columns(sampled)
        advantages_BG = self._advantages(policy, rollouts)
        old_BGR, completions, drift = self._under_old_policy(policy, drawn, completions)
        reference_BGR = None
        if self.reference is not None:
            reference_BGR = self._logprobs(self.reference, drawn, completions)
        stats = _said_of(rollouts, sampled) | drift
        if method.refills:
            stats["drawn"] = float(drawn.draws)
        passes = (old_BGR is not None) + (reference_BGR is not None)
        flops = passes * policy.operations.forward(rollouts.prompts, completions)
        return Groups(
            rollouts.prompts,
            completions,
            advantages_BG,
            old_BGR,
            reference_BGR,
            scores_BG=rollouts.scores_BG[:, sampled],
            rewards_BG=rollouts.rewards_BG[:, sampled],
            stats=stats,
            items=tuple(drawn.items),
            spent=drawn.spent + Spent(flops=flops),
            prefill=rollouts.prefill,
        )

    def _drawn(self, policy: Policy, items: Sequence[Item], stream: tuple[object, ...]) -> _Drawn:
        """Roll-outs of a batch; with `refills`, of prompts whose rewards differ."""
        rollouts = self._roll_out(policy, items, (*stream, "sample"))
        spent = Spent.sampling(policy.operations, rollouts.prompts, rollouts.completions)
        drawn = _Drawn(items, rollouts, spent)
        return self._refilled(policy, drawn, stream) if self.method.refills else drawn

    def _roll_out(self, policy: Policy, items: Sequence[Item], stream: tuple[object, ...]) -> Rollouts:
        method = self.method
        with naming(items):  # which of a refill are no batch
            return roll_out(
                policy,
                items,
                Asking(method.style, self.templates, method.sampling, stream),
                method.group_size,
                greedy_row=method.greedy,
                to_train=method.updates == 1 and (method.micro_batch or len(items)) >= len(items),
                parts=method.reward,
                sampler=self.sampler,
            )

    def _refilled(self, policy: Policy, drawn: _Drawn, stream: tuple[object, ...]) -> _Drawn:
        """A full batch of prompts whose rewards differ; fewer where `refills` further draws find no more."""
        wanted = len(drawn.items)
        chosen: list[Item] = []
        parts: list[tuple[Rollouts, list[int]]] = []
        while True:
            varied = (~advantages.zero_variance(drawn.rollouts.rewards_BG)).nonzero().squeeze(1).tolist()
            kept = varied[: wanted - len(chosen)]
            parts.append((drawn.rollouts, kept))
            chosen += [drawn.items[row] for row in kept]
            if len(chosen) == wanted or drawn.draws > self.method.refills:
                break
            names = (*stream, "refill", drawn.draws)
            items = named_stream(*names).sample(list(self.pool), min(wanted, len(self.pool)))
            rollouts = self._roll_out(policy, items, names)
            spent = Spent.sampling(policy.operations, rollouts.prompts, rollouts.completions)
            drawn = _Drawn(items, rollouts, drawn.spent + spent, drawn.draws + 1)
        if not chosen:  # nothing teaches; `chosen` leaves all of the last draw out
            return drawn
        prompts = encode_items(policy, chosen, self.method.style, self.templates)
        return replace(drawn, items=chosen, rollouts=Rollouts.join(parts, prompts, policy.draw.pad))

    def _advantages(self, policy: Policy, rollouts: Rollouts) -> torch.Tensor:
        """The method's advantages [B, G], found by one rank for all: the user's own may draw numbers."""
        method, sampled = self.method, slice(0, self.method.group_size)
        rewards_BG = rollouts.rewards_BG[:, sampled]
        greedy_B = rollouts.rewards_BG[:, -1] if method.greedy else None

        def judged() -> torch.Tensor:
            # Of copies, for one of the user's own may work in place.
            found = method.advantages(rewards_BG.clone(), None if greedy_B is None else greedy_B.clone())
            return _checked(found, rewards_BG, method)

        advantages_BG = policy.shards.agreed(judged)
        if method.positives_only:
            advantages_BG = advantages_BG.masked_fill(rollouts.scores_BG[:, sampled] < RIGHT, 0.0)
        return advantages_BG

    def _under_old_policy(
        self, policy: Policy, drawn: _Drawn, completions: Completions
    ) -> tuple[torch.Tensor | None, Completions, dict[str, float]]:
        """Log-probabilities [B, G, R] under the policy before its updates; None where it is the current one.

        Returns:
            Besides: the completions, with the policy's own entropies where another engine drew them; and how
            far that engine is from the policy, for the log.
        """
        if self.sampler is not None:
            temperature = self.method.sampling.temperature
            with naming(drawn.items):
                own, drift = self.sampler.recompute(drawn.rollouts.prompts, completions, temperature)
            return own.logprobs_BGR, replace(completions, entropy_BGR=own.entropy_BGR), drift
        if self.method.updates == 1:  # the step is exactly on-policy
            return None, completions, {}
        return self._logprobs(policy, drawn, completions), completions, {}

    def _logprobs(self, of: Policy | Reference, drawn: _Drawn, completions: Completions) -> torch.Tensor:
        """Log-probabilities [B, G, R] under a policy, at the temperature of sampling; no gradient."""
        temperature = self.method.sampling.temperature
        with torch.no_grad(), naming(drawn.items):
            return of.group_logprobs(drawn.rollouts.prompts, completions, temperature).logprobs_BGR

    def chosen(self, groups: Groups) -> Groups:
        return groups.rows(pushed(groups)) if self.method.drop_zero_variance else groups

    def teaching(self, groups: Groups) -> list[int]:
        known = groups.reference_BGR is None and groups.completions.entropy_BGR is not None
        return pushed(groups) if known and self._pushes_by_advantage else super().teaching(groups)

    def weighed(self, groups: Groups) -> Groups:
        match self.method.loss_mean:
            case "tokens":
                return groups
            case "constant":
                return groups.averaged_as(self.method.sampling.max_tokens)
            case "sequences":
                return groups.averaged_over(1)
            case size:
                return groups.averaged_over(size)

    def loss(self, policy: Policy, groups: Groups) -> LossSums:
        method, completions = self.method, groups.completions
        out = policy.group_logprobs(groups.prompts, completions, method.sampling.temperature, groups.prefill)
        logprobs = out.logprobs_BGR
        mask = completions.mask_BGR.to(logprobs.dtype)
        weights_BG = groups.token_weights_BG
        weight = mask if weights_BG is None else mask * weights_BG.to(mask).unsqueeze(-1)
        old = logprobs.detach() if groups.old_logprobs_BGR is None else groups.old_logprobs_BGR
        advantage = groups.advantages_BG.to(logprobs).unsqueeze(-1)
        if groups.advantages_BGR is not None:
            advantage = advantage + groups.advantages_BGR.to(logprobs)
        surrogate, is_clipped = method.surrogate(Sampled(logprobs, old, advantage, mask))
        if self.sampler is not None and self.sampler.settings.correction == "token":
            surrogate = surrogate * truncated_ratio(old, completions, self.sampler.settings.most)
        loss = -(surrogate * weight).sum()
        kl = torch.zeros(())
        if groups.reference_BGR is not None:
            divergence_BGR = k3(groups.reference_BGR, logprobs, mask)
            kl = divergence_BGR.sum()
            if weights_BG is not None:
                divergence_BGR = divergence_BGR * weight
            if groups.kl_B is None:
                loss = loss + method.kl_coef * divergence_BGR.sum()
            else:
                loss = loss + (groups.kl_B.to(logprobs).view(-1, 1, 1) * divergence_BGR).sum()
        clipped = (is_clipped * mask).sum()
        return LossSums(loss, float((out.entropy_BGR * mask).sum()), float(kl.detach()), float(clipped))


def _said_of(rollouts: Rollouts, sampled: slice) -> dict[str, float]:
    """Means over the sampled members of all groups, for the log."""
    completions, rewards_BG = rollouts.completions.columns(sampled), rollouts.rewards_BG[:, sampled]
    means = {
        "reward": rewards_BG.mean().item(),
        "accuracy": rollouts.scores_BG[:, sampled].mean().item(),
        "format": rollouts.formats_BG[:, sampled].mean().item(),
        "length": completions.lengths_BG.float().mean().item(),
        "unfinished": 1 - completions.finished_BG.float().mean().item(),
        "zero_variance": advantages.zero_variance(rewards_BG).float().mean().item(),
        "distinct": sum(len(set(group[sampled])) for group in rollouts.texts) / rewards_BG.numel(),
    }
    for part, values_BG in rollouts.parts_BG.items():
        means[f"reward.{part.rpartition(':')[2]}"] = values_BG[:, sampled].mean().item()
    return means


def pushed(groups: Groups) -> list[int]:
    """The prompts of which a completion has an advantage, or that a reference holds."""
    pushed_B = (groups.advantages_BG != 0).any(dim=1)
    if groups.kl_B is not None:
        pushed_B |= groups.kl_B != 0
    if groups.advantages_BGR is not None:
        pushed_B |= (groups.advantages_BGR != 0).flatten(1).any(1).to(pushed_B.device)
    return pushed_B.nonzero().squeeze(1).tolist()


def k3(reference_BGR: torch.Tensor, logprobs_BGR: torch.Tensor, mask_BGR: torch.Tensor) -> torch.Tensor:
    """The k3 estimate of KL(policy ‖ reference) at each token [B, G, R], clamped; 0 outside the mask."""
    # Bounded before the exponential, too, which would overflow far beyond the clamp.
    difference = ((reference_BGR - logprobs_BGR) * mask_BGR).clamp(max=2 * KL_CLAMP)
    return (difference.exp() - difference - 1).clamp(max=KL_CLAMP) * mask_BGR


def _checked(advantages_BG: object, rewards_BG: torch.Tensor, method: RFT) -> torch.Tensor:
    """Advantages as a method's class gave them.

    Raises:
        HoldfastError: they are not a number for each completion.
    """
    if not isinstance(advantages_BG, torch.Tensor) or advantages_BG.shape != rewards_BG.shape:
        got = list(advantages_BG.shape) if isinstance(advantages_BG, torch.Tensor) else advantages_BG
        raise HoldfastError(
            f"{method.objective}: advantages() must return a tensor of the rewards' shape, "
            f"{list(rewards_BG.shape)}, not {got!r}."
        )
    if not bool(torch.isfinite(advantages_BG).all()):
        raise HoldfastError(f"{method.objective}: advantages() returned a number that is not finite.")
    return advantages_BG
