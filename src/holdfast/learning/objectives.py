"""What a step optimises: the likelihood of references, or the policy gradient on sampled groups.

(The likelihood of what a policy wrote itself: `sampled_targets.py`; self-distillation: `distillation.py`.)
All give the loop the same thing: groups of completions with an advantage each, and a loss that is a sum
over tokens (the loop divides by the step's number of tokens, so a step split into micro-batches has the
same gradient as one that is not).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from holdfast.errors import HoldfastError
from holdfast.generate.rollouts import Item, Rollouts, encode_items, roll_out
from holdfast.learning import advantages
from holdfast.learning.budget import Spent
from holdfast.learning.groups import Groups, naming
from holdfast.learning.methods import RFT, SFT
from holdfast.learning.surrogates import Sampled, truncated_ratio
from holdfast.policy.encode import Unfit
from holdfast.rng import stream as named_stream
from holdfast.tasks.prompts import Style, Target, render_target
from holdfast.tasks.scoring import RIGHT

if TYPE_CHECKING:
    from holdfast.generate.served import ServedGenerator
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference

# The most that a token's divergence counts, beyond which it has no gradient: one token cannot blow up a step.
# As in the study's code (EasyR1, `verl/trainer/core_algos.py`): of the k3 value, not of the log-ratio.
KL_CLAMP = 10.0
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
        """What an iteration learns from, on the policy as it is."""

    def weighed(self, groups: Groups) -> Groups:
        """With weights that make a step's mean over tokens another mean, if it is to be one."""
        return groups

    def chosen(self, groups: Groups) -> Groups:
        """Those of the collected groups that are learned from."""
        return groups

    def teaching(self, groups: Groups) -> list[int]:
        """The rows of a step whose loss has a gradient; of the others it is known how they were drawn."""
        return list(range(len(groups.prompts)))

    @abstractmethod
    def loss(self, policy: Policy, groups: Groups) -> LossSums:
        """The loss of a part of a step, with its gradient."""

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
        rollouts = self._roll_out(policy, items, (*stream, "sample"))
        spent, drawn = Spent.sampling(policy.operations, rollouts.prompts, rollouts.completions), 1
        if method.refills:
            items, rollouts, spent, drawn = self._refilled(policy, list(items), rollouts, spent, stream)
        sampled = slice(0, method.group_size)
        rewards_BG, completions = rollouts.rewards_BG[:, sampled], rollouts.completions.columns(sampled)
        greedy_B = rollouts.rewards_BG[:, -1] if method.greedy else None

        def judged() -> torch.Tensor:
            # Of copies, for one of the user's own may work in place.
            found = method.advantages(rewards_BG.clone(), None if greedy_B is None else greedy_B.clone())
            return _checked(found, rewards_BG, method)

        advantages_BG = policy.shards.agreed(judged)  # a user's own may draw numbers
        if method.positives_only:
            advantages_BG = advantages_BG.masked_fill(rollouts.scores_BG[:, sampled] < RIGHT, 0.0)

        def logprobs(of: Policy | Reference) -> torch.Tensor:
            with torch.no_grad(), naming(items):
                return of.group_logprobs(
                    rollouts.prompts, completions, method.sampling.temperature
                ).logprobs_BGR

        old, drift = None, dict[str, float]()
        if self.sampler is not None:
            with naming(items):
                own, drift = self.sampler.recompute(
                    rollouts.prompts, completions, method.sampling.temperature
                )
            old, completions = own.logprobs_BGR, replace(completions, entropy_BGR=own.entropy_BGR)
        elif method.updates > 1:  # with one, a step is exactly on-policy: the old policy is the current one
            old = logprobs(policy)
        reference = logprobs(self.reference) if self.reference is not None else None
        stats = _said_of(rollouts, sampled) | drift
        if method.refills:
            stats["drawn"] = float(drawn)
        passes = (old is not None) + (reference is not None)
        spent += Spent(flops=passes * policy.operations.forward(rollouts.prompts, completions))
        return Groups(
            rollouts.prompts,
            completions,
            advantages_BG,
            old,
            reference,
            scores_BG=rollouts.scores_BG[:, sampled],
            rewards_BG=rewards_BG,
            stats=stats,
            items=tuple(items),
            spent=spent,
            prefill=rollouts.prefill,
        )

    def _roll_out(self, policy: Policy, items: Sequence[Item], stream: tuple[object, ...]) -> Rollouts:
        method = self.method
        with naming(items):  # which of a refill are no batch
            return roll_out(
                policy,
                items,
                style=method.style,
                templates=self.templates,
                sampling=method.sampling,
                group_size=method.group_size,
                stream=stream,
                greedy_row=method.greedy,
                to_train=method.updates == 1 and (method.micro_batch or len(items)) >= len(items),
                parts=method.reward,
                sampler=self.sampler,
            )

    def _refilled(
        self, policy: Policy, items: list[Item], rollouts: Rollouts, spent: Spent, stream: tuple[object, ...]
    ) -> tuple[list[Item], Rollouts, Spent, int]:
        """A batch of prompts whose rewards differ, as far as `refills` further draws find them.

        Returns:
            The prompts, their roll-outs, what all draws took, and how many there were.
        """
        wanted, drawn = len(items), 0
        chosen: list[Item] = []
        parts: list[tuple[Rollouts, list[int]]] = []
        while True:
            drawn += 1
            varied = (~advantages.zero_variance(rollouts.rewards_BG)).nonzero().squeeze(1).tolist()
            kept = varied[: wanted - len(chosen)]
            parts.append((rollouts, kept))
            chosen += [items[row] for row in kept]
            if len(chosen) == wanted or drawn > self.method.refills:
                break
            draw = named_stream(*stream, "refill", drawn)
            items = draw.sample(list(self.pool), min(wanted, len(self.pool)))
            rollouts = self._roll_out(policy, items, (*stream, "refill", drawn))
            spent += Spent.sampling(policy.operations, rollouts.prompts, rollouts.completions)
        if not chosen:  # nothing teaches; `chosen` leaves all of the last draw out
            return items, rollouts, spent, drawn
        prompts = encode_items(policy, chosen, self.method.style, self.templates)
        return chosen, Rollouts.join(parts, prompts, policy.draw.pad), spent, drawn

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
