"""Drift: how far a policy's answers have moved from those of earlier policies, as KL divergences.

RL's Razor (arXiv 2509.04259) relates forgetting to the forward divergence on prompts of the new task;
its critics ask for it on prompts of the old tasks. Both are a matter of which items are given here.

Axes: B prompts, G completions of one prompt, T completion tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import Item, encode_items
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.budget import TokenBudget
from holdfast.rng import torch_stream

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference

# Numbers in one [tokens, vocabulary] distribution: 2 GiB in float32. Two are held at once, and a few
# copies while they are made. Where one prompt's completions may be larger, divergences are estimated
# from the sampled tokens.
EXACT_ENTRIES = 2**29


def divergences(
    policy: Policy,
    references: Mapping[str, Reference],
    items: Mapping[str, Sequence[Item]],
    asking: Asking,
    samples: int = 1,
) -> list[dict[str, Any]]:
    """KL divergences in nats between a policy p and references q, on prompts of some tasks.

    *Forward* is KL(q ‖ p) on completions drawn from q, *reverse* KL(p ‖ q) on completions drawn from
    p. The divergence of a completion's distribution is a sum over its tokens; with the next-token
    distributions q_t and p_t along a sampled completion y,

        KL(q ‖ p | x) = E_{y ~ q} Σ_t Σ_v q_t(v) (log q_t(v) − log p_t(v)),

    which is exact over the vocabulary and sampled only in y. Where a completion of `max_tokens`
    times the vocabulary exceeds `EXACT_ENTRIES`, Σ_v is replaced by the value at the sampled token
    (log q − log p, the k1 estimate): the same in expectation, with more noise.

    Distributions are those at the sampling temperature (1 for greedy), before top-p. All policies draw
    with the same random numbers, so equal policies draw equal completions.

    Args:
        policy: the current one.
        references: earlier ones, by name; weights that stand in for the policy's own.
        items: what is asked, by task.
        samples: completions per prompt and policy.

    Returns:
        A row for each task and reference: task, reference; forward, reverse (means over prompts of a
        completion's divergence) and their standard errors forward_se, reverse_se (None for one
        prompt); per_token_forward, per_token_reverse (the sum of divergences over the number of
        tokens); prompts, samples, tokens (of both kinds of completions), exact.

    Raises:
        NotFiniteError: a policy's output is not finite.
    """
    sampling = asking.sampling
    flat = [(task, item) for task, some in items.items() for item in some]
    names = list(references)
    longest = (1 + len(names)) * samples * sampling.max_tokens
    exact = longest * len(policy.draw.banned_V) <= EXACT_ENTRIES
    sources: list[Policy | Reference] = [policy, *references.values()]
    # [prompts, references, (forward, reverse)]: sums over completions and tokens, and numbers of tokens.
    sums = torch.zeros(len(flat), len(names), 2, dtype=torch.float64)
    tokens = torch.zeros(len(flat), len(names), 2, dtype=torch.long)
    batch = asking.batch or len(flat)
    for start in range(0, len(flat), batch):
        part = [item for _, item in flat[start : start + batch]]
        prompts = encode_items(policy, part, asking.style, asking.templates)
        drawn = [
            source.sample(
                prompts, samples, sampling, torch_stream(*asking.stream, start, device=str(policy.device))
            )
            for source in sources
        ]
        # One group per prompt holds the completions of all policies: image and prompt are computed once.
        joined = Completions.join(drawn, policy.draw.pad, axis=1)
        costs = joined.lengths_BG.sum(-1).tolist()
        fitting = TokenBudget(EXACT_ENTRIES // len(policy.draw.banned_V) if exact else None)
        for rows in fitting.split(costs):
            where = slice(start + rows.start, start + rows.stop)
            sums[where], tokens[where] = _divergences(
                policy,
                sources[1:],
                prompts.select(rows),
                joined.select(rows),
                samples,
                sampling.temperature or 1.0,
                exact,
            )
    rows_of = {task: [row for row, (owner, _) in enumerate(flat) if owner == task] for task in items}
    return [
        {"task": task, "reference": name}
        | _summary(sums[rows_of[task], index], tokens[rows_of[task], index], samples)
        | {"exact": exact}
        for task in items
        for index, name in enumerate(names)
    ]


def _divergences(
    policy: Policy,
    references: Sequence[Policy | Reference],
    prompts: Prompts,
    completions: Completions,
    samples: int,
    temperature: float,
    exact: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of divergences and numbers of tokens, [B, references, (forward, reverse)].

    Args:
        completions: of each prompt, `samples` of the policy, then as many of each reference.
    """

    def look(source: Policy | Reference, members: Completions) -> torch.Tensor:
        """Log-probabilities of all tokens [T, V], or of the sampled ones [T, 1]."""
        if exact:
            return source.group_distributions(prompts, members, temperature)
        with torch.no_grad():
            logprobs_BGR = source.group_logprobs(prompts, members, temperature).logprobs_BGR
        return logprobs_BGR[members.mask_BGR][:, None]

    policy_TV = look(policy, completions)
    member_T = completions.mask_BGR.nonzero()[:, 1]
    own = completions.columns(slice(0, samples))
    sums, tokens = [], []
    for index, reference in enumerate(references):
        first = samples * (1 + index)
        theirs = completions.columns(slice(first, first + samples))
        both = Completions.join([own, theirs], policy.draw.pad, axis=1)
        is_own_T = member_T < samples
        keep_T = is_own_T | ((member_T >= first) & (member_T < first + samples))
        p_TV, q_TV, is_own_T = policy_TV[keep_T], look(reference, both), is_own_T[keep_T]
        forward_T, reverse_T = kl(q_TV[~is_own_T], p_TV[~is_own_T]), kl(p_TV[is_own_T], q_TV[is_own_T])
        sums.append(torch.stack([_per_prompt(forward_T, theirs), _per_prompt(reverse_T, own)], dim=-1))
        tokens.append(torch.stack([theirs.lengths_BG.sum(-1), own.lengths_BG.sum(-1)], dim=-1))
    return torch.stack(sums, 1).double().cpu(), torch.stack(tokens, 1).cpu()


def kl(p_TV: torch.Tensor, q_TV: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ q) [T] of distributions given by their logarithms; of sampled tokens [T, 1], log p − log q."""
    difference_TV = p_TV - q_TV
    if p_TV.shape[-1] > 1:
        difference_TV.mul_(p_TV.exp())
    return difference_TV.sum(-1)


def _per_prompt(values_T: torch.Tensor, completions: Completions) -> torch.Tensor:
    """Sums [B] of token values in the order of the mask."""
    owner_T = completions.mask_BGR.nonzero()[:, 0]
    return values_T.new_zeros(len(completions)).index_add_(0, owner_T, values_T)


def _summary(sums_B2: torch.Tensor, tokens_B2: torch.Tensor, samples: int) -> dict[str, Any]:
    """Means over prompts, forward and reverse."""
    prompts = len(sums_B2)
    row: dict[str, Any] = {}
    for way, sums_B, tokens in zip(("forward", "reverse"), sums_B2.T, tokens_B2.sum(0).tolist(), strict=True):
        values_B = sums_B / samples
        row[way] = values_B.mean().item()
        row[f"{way}_se"] = values_B.std().item() / math.sqrt(prompts) if prompts > 1 else None
        row[f"per_token_{way}"] = sums_B.sum().item() / tokens
    return row | {"prompts": prompts, "samples": samples, "tokens": int(tokens_B2.sum())}
