"""Supervised fine-tuning: the likelihood of given completions, and losses that weigh its tokens.

Of N tokens y_t with probabilities p_t a step minimises (1 / N) Σ_t w_t · (−log p_t), where w has no gradient.
π_0 is the policy at the stage's start.

    nll     w_t = 1
    dft     w_t = p_t: dynamic fine-tuning (Wu et al., arXiv 2508.05629, eq. 9)
    eaft    w_t = (H_t / ln K)^α, with H_t the entropy of the K = 20 most likely entries, as a distribution of
            their own: entropy-adaptive fine-tuning (Diao et al., arXiv 2601.02151, and its code)
    stm     w_t = N / N_kept where the perplexity of the token under π_0, 1 / π_0(y_t), is at most a bound,
            else 0: selective token masking (Wu et al., arXiv 2501.14315, and its code)

    psft    (1 / N) Σ_t −min(r_t, 1 + ε), with r_t = p_t / p_t before the iteration's updates: PPO's clipped
            surrogate for an advantage of 1, proximal SFT (Zhu et al., arXiv 2508.17784, and its code)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from holdfast.generate.rollouts import Item, encode_items
from holdfast.learning.groups import Groups, naming
from holdfast.learning.objectives import LossSums, Objective
from holdfast.learning.spent import Spent
from holdfast.policy.encode import Unfit
from holdfast.tasks.prompts import Style, Target, render_target

if TYPE_CHECKING:
    from holdfast.learning.methods.sft import SFT, Likely
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference

EAFT_ENTRIES = 20  # K


class WeighedLikelihood(Objective):
    """Learning to write given completions; who says which is made from it.

    Args:
        start: the policy at the stage's start, where the loss asks it.
    """

    def __init__(self, method: Likely, start: Policy | Reference | None = None) -> None:
        self.method, self.start = method, start

    def judged(self, policy: Policy, groups: Groups) -> Groups:
        """Collected groups with what an earlier policy says of their tokens, where the loss asks for that."""
        if not len(groups.prompts) or self.method.loss not in ("stm", "psft"):
            return groups
        earlier = policy if self.start is None else self.start
        with torch.no_grad(), naming(groups.items):
            said_BGR = earlier.group_logprobs(groups.prompts, groups.completions).logprobs_BGR
        flops = policy.operations.forward(groups.prompts, groups.completions)
        groups = replace(groups, old_logprobs_BGR=said_BGR, spent=groups.spent + Spent(flops=flops))
        if self.method.loss == "psft":
            return groups
        kept = self._kept(groups).sum().item() / groups.completions.mask_BGR.sum().item()
        return groups.logged({"masked": 1 - kept})

    def weighed(self, groups: Groups) -> Groups:
        if self.method.loss != "stm":
            return groups
        mask_BGR, weights_BG = groups.completions.mask_BGR, groups.token_weights_BG
        mean = float(mask_BGR.sum() / self._kept(groups).sum().clamp(min=1))
        ones_BG = torch.ones(mask_BGR.shape[:2])
        return replace(groups, token_weights_BG=mean * (ones_BG if weights_BG is None else weights_BG))

    def _kept(self, groups: Groups) -> torch.Tensor:
        """The tokens that `stm` learns [B, G, R]."""
        assert groups.old_logprobs_BGR is not None, "judged"
        return groups.completions.mask_BGR & (
            groups.old_logprobs_BGR >= -math.log(self.method.stm_perplexity)
        )

    def loss(self, policy: Policy, groups: Groups) -> LossSums:
        method = self.method
        top = EAFT_ENTRIES if method.loss == "eaft" else None
        out = policy.group_logprobs(groups.prompts, groups.completions, top=top)
        logprobs_BGR = out.logprobs_BGR
        mask_BGR = groups.completions.mask_BGR.to(logprobs_BGR.dtype)
        entropy = float((out.entropy_BGR * mask_BGR).sum())
        weight_BGR = mask_BGR
        if groups.token_weights_BG is not None:
            weight_BGR = mask_BGR * groups.token_weights_BG.to(mask_BGR).unsqueeze(-1)
        match method.loss:
            case "dft":
                weight_BGR = weight_BGR * logprobs_BGR.detach().exp()
            case "eaft":
                assert out.top_entropy_BGR is not None, "asked for"
                weight_BGR = weight_BGR * (out.top_entropy_BGR / math.log(EAFT_ENTRIES)) ** method.eaft_alpha
            case "stm":
                weight_BGR = weight_BGR * self._kept(groups)
            case "psft":
                assert groups.old_logprobs_BGR is not None, "judged"
                bound = math.log1p(method.psft_clip)
                moved_BGR = (logprobs_BGR - groups.old_logprobs_BGR) * mask_BGR
                held_BGR = moved_BGR.clamp(max=bound).exp()  # bounded before, so that it cannot overflow
                clipped = float(((moved_BGR > bound) * mask_BGR).sum())
                return LossSums(-(held_BGR * weight_BGR).sum(), entropy, clipped=clipped)
        return LossSums(-(logprobs_BGR * weight_BGR).sum(), entropy)


class Likelihood(WeighedLikelihood):
    """SFT on references."""

    method: SFT

    def __init__(
        self, method: SFT, templates: Mapping[Style, str], start: Policy | Reference | None = None
    ) -> None:
        super().__init__(method, start)
        self.templates = templates

    def collect(self, policy: Policy, items: Sequence[Item], stream: tuple[object, ...]) -> Groups:
        groups = with_references(policy, items, self.templates, self.method.style, self.method.target)
        groups = groups.logged({"length": groups.completions.lengths_BG.float().mean().item()})
        return self.judged(policy, groups)


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
