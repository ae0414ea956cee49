"""Log-probabilities of groups of completions, prompt and image once per group.

The packed pass: all prompts and all completions lie in one row of tokens without padding, each
completion attending to its prompt and its own past (`groups.GroupLayout`), with the rotary positions
it would have in a row of its own. Nothing is computed for padding, and nothing about a prompt twice;
log-probabilities, losses and gradients equal those of the plain pass up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from holdfast.policy.backbone import Backbone
from holdfast.policy.batch import Completions, GroupLogprobs, Prompts
from holdfast.policy.fused import available, compiled
from holdfast.policy.head import Head
from holdfast.policy.prefill import Prefill, layout_of

# Logits held at once. Above this many, token chunks are recomputed in the backward pass instead. Compiled
# kernels keep them once and as the head makes them, and a GPU is slow at products of few rows.
CHUNK_LOGITS = 2**25
CHUNK_LOGITS_COMPILED = 2**29


def packed_logprobs(
    backbone: Backbone,
    prompts: Prompts,
    completions: Completions,
    banned_V: torch.Tensor,
    temperature: float,
    prefilled: Prefill | None,
    top: int | None,
) -> GroupLogprobs:
    """Log-probability and entropy of every completion token, by the packed pass.

    Args:
        banned_V: True for ids that are never sampled; they have probability 0.
        temperature: divides the logits, as it did in sampling.
        prefilled: of these prompts, with its graph: completions are computed alone; None: not.
        top: also the entropy of so many most likely entries; None: not.
    """
    hidden_TD = packed_hidden(backbone, prompts, completions, prefilled)
    targets_T = completions.tokens_BGR[completions.mask_BGR]
    found = token_logprobs(backbone.head, hidden_TD, targets_T, banned_V, temperature, top)
    return scatter(completions.mask_BGR, *found)


def packed_hidden(
    backbone: Backbone, prompts: Prompts, completions: Completions, prefilled: Prefill | None = None
) -> torch.Tensor:
    """The hidden states [T, hidden] that predict the T completion tokens, in the order of the mask."""
    lengths_BG = completions.lengths_BG
    inputs_BG = (lengths_BG - 1).clamp_min(0)  # nothing is predicted from the last token
    steps_R = torch.arange(completions.tokens_BGR.shape[2], device=lengths_BG.device)
    is_input_BGR = steps_R < inputs_BG[..., None]

    tokens_N = completions.tokens_BGR[is_input_BGR]
    positions_BGR = (prompts.next_positions_B[:, None, None] + steps_R).expand(is_input_BGR.shape)
    positions_KN = positions_BGR[is_input_BGR].expand(prompts.positions_KBP.shape[0], -1)
    if prefilled is None:
        layout = layout_of(backbone, prompts, inputs_BG)
        tokens_N = torch.cat([prompts.tokens_BP[prompts.mask_BP], tokens_N])
        positions_KN = torch.cat([prompts.positions_KBP[:, prompts.mask_BP], positions_KN], dim=1)
        ends_B = prompts.lengths_B.cumsum(0) - 1
        after = torch.arange(int(prompts.lengths_B.sum()), len(tokens_N), device=ends_B.device)
        read = torch.cat([ends_B, after])
        hidden_ND = backbone.hidden(backbone.embed(tokens_N, prompts), positions_KN, layout, read)
    else:
        hidden_ND = prefilled.ends_BD
        if len(tokens_N):
            layout = layout_of(backbone, prompts, inputs_BG, prefilled)
            completed_ND = backbone.hidden(backbone.embed(tokens_N), positions_KN, layout)
            hidden_ND = torch.cat([hidden_ND, completed_ND])

    # The first token of a completion is predicted by the prompt's last token, the others by the one before.
    ends_B = torch.arange(len(prompts), device=lengths_BG.device)  # those of completions follow
    starts_BG = (inputs_BG.flatten().cumsum(0) - inputs_BG.flatten()).view_as(inputs_BG) + len(prompts)
    source_BGR = torch.where(steps_R == 0, ends_B[:, None, None], starts_BG[..., None] + steps_R - 1)
    return hidden_ND.index_select(0, source_BGR[completions.mask_BGR])


def token_logprobs(
    head: Head,
    hidden_TD: torch.Tensor,
    targets_T: torch.Tensor,
    banned_V: torch.Tensor,
    temperature: float,
    top: int | None,
) -> tuple[torch.Tensor, ...]:
    """Log-probability [T] and entropy [T] of targets, and that of the `top` most likely entries [T] where
    these are asked for; never more than a chunk's logits are kept."""

    def chunk(hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits_TV = head(hidden)
        rest = () if top is None else (top_entropy(logits_TV.detach(), banned_V, temperature, top),)
        return (*way.apply(logits_TV, targets, banned_V, temperature), *rest)

    compiles = available(hidden_TD)
    way = _CompiledTokenLogprobs if compiles else _TokenLogprobs
    size = max(1, (CHUNK_LOGITS_COMPILED if compiles else CHUNK_LOGITS) // len(banned_V))
    if len(targets_T) <= size:
        return chunk(hidden_TD, targets_T)
    parts = [
        checkpoint(chunk, hidden, targets, use_reentrant=False)
        for hidden, targets in zip(hidden_TD.split(size), targets_T.split(size), strict=True)
    ]
    return tuple(map(torch.cat, zip(*parts, strict=True)))


class _TokenLogprobs(torch.autograd.Function):
    """As `logits_to_logprobs`, with a fraction of its passes over the logits and one copy of them kept."""

    @staticmethod
    def forward(
        ctx: Any, logits_TV: torch.Tensor, targets_T: torch.Tensor, banned_V: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.dtype, ctx.temperature = logits_TV.dtype, temperature
        shifted_TV = sampling_logits(logits_TV, banned_V, temperature)
        shifted_TV -= shifted_TV.amax(-1, keepdim=True)
        target_T1 = shifted_TV.gather(-1, targets_T[:, None])
        weights_TV = shifted_TV.exp()
        total_T1 = weights_TV.sum(-1, keepdim=True)
        log_total_T1 = total_T1.log()
        entropy_T = (log_total_T1 - shifted_TV.mul_(weights_TV).sum(-1, keepdim=True) / total_T1).squeeze(-1)
        ctx.save_for_backward(weights_TV, total_T1, targets_T)
        ctx.mark_non_differentiable(entropy_T)
        return (target_T1 - log_total_T1).squeeze(-1), entropy_T

    @staticmethod
    def backward(ctx: Any, grad_T: torch.Tensor, _: torch.Tensor) -> tuple:
        weights_TV, total_T1, targets_T = ctx.saved_tensors
        scaled_T1 = grad_T[:, None] / ctx.temperature
        grad_TV = (weights_TV * (-scaled_T1 / total_T1)).scatter_add_(-1, targets_T[:, None], scaled_T1)
        return grad_TV.to(ctx.dtype), None, None, None


class _CompiledTokenLogprobs(torch.autograd.Function):
    """The same in two kernels that read the logits themselves and keep nothing else of their size."""

    @staticmethod
    def forward(
        ctx: Any, logits_TV: torch.Tensor, targets_T: torch.Tensor, banned_V: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logprobs_T, entropy_T, total_T1 = compiled(_statistics)(logits_TV, targets_T, banned_V, temperature)
        ctx.save_for_backward(logits_TV, targets_T, banned_V, total_T1)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy_T)
        return logprobs_T, entropy_T

    @staticmethod
    def backward(ctx: Any, grad_T: torch.Tensor, _: torch.Tensor) -> tuple:
        return compiled(_slopes)(*ctx.saved_tensors, grad_T, ctx.temperature), None, None, None


def _statistics(
    logits_TV: torch.Tensor, targets_T: torch.Tensor, banned_V: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probability [T] of targets, entropy [T], and the log of what weights are divided by [T, 1]."""
    scaled_TV = sampling_logits(logits_TV, banned_V, temperature)
    total_T1 = scaled_TV.logsumexp(-1, keepdim=True)
    shifted_TV = scaled_TV - total_T1
    entropy_T = -(shifted_TV.exp() * shifted_TV).sum(-1)
    return shifted_TV.gather(-1, targets_T[:, None]).squeeze(-1), entropy_T, total_T1


def _slopes(
    logits_TV: torch.Tensor,
    targets_T: torch.Tensor,
    banned_V: torch.Tensor,
    total_T1: torch.Tensor,
    grad_T: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """The gradient of the logits: one at the target less the weights, times that of the log-probability."""
    weights_TV = (sampling_logits(logits_TV, banned_V, temperature) - total_T1).exp()
    is_target_TV = torch.arange(logits_TV.shape[1], device=logits_TV.device) == targets_T[:, None]
    scaled_T1 = grad_T[:, None] / temperature
    return ((is_target_TV.to(weights_TV.dtype) - weights_TV) * scaled_T1).to(logits_TV.dtype)


def logits_to_logprobs(
    logits_TV: torch.Tensor, targets_T: torch.Tensor, banned_V: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability [T] of targets, with gradient, and entropy [T], without."""
    all_TV = log_distribution(logits_TV, banned_V, temperature)
    with torch.no_grad():
        entropy_T = -(all_TV.exp() * all_TV).sum(-1)
    return all_TV.gather(-1, targets_T[:, None]).squeeze(-1), entropy_T


def top_entropy(
    logits_TV: torch.Tensor, banned_V: torch.Tensor, temperature: float, top: int
) -> torch.Tensor:
    """Entropy [T] in nats of the `top` most likely entries, as if there were no others (or of all)."""
    top = min(top, int((~banned_V).sum()))
    most_TK = logits_TV.masked_fill(banned_V, -torch.inf).topk(top).values  # no copy in float32
    logs_TK = (most_TK.to(torch.promote_types(most_TK.dtype, torch.float32)) / temperature).log_softmax(-1)
    return -(logs_TK.exp() * logs_TK).sum(-1)


def log_distribution(logits_TV: torch.Tensor, banned_V: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log of the distribution that tokens are drawn from (before top-p), at least in float32."""
    return sampling_logits(logits_TV, banned_V, temperature).log_softmax(-1)


def sampling_logits(logits_TV: torch.Tensor, banned_V: torch.Tensor, temperature: float) -> torch.Tensor:
    """A copy at the temperature, at least in float32, in which banned ids count for nothing."""
    logits_TV = logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32))
    # A large finite value, not -inf: 0 * -inf in the entropy would be NaN. A sum is faster than a fill.
    offset_V = logits_TV.new_zeros(logits_TV.shape[-1]).masked_fill_(banned_V, -1e30)
    return torch.add(offset_V, logits_TV, alpha=1 / temperature)


def scatter(mask_BGR: torch.Tensor, *found: torch.Tensor) -> GroupLogprobs:
    """Token values, each [T], back to [B, G, R], 0 on padding."""

    def padded(values_T: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros(mask_BGR.shape, dtype=values_T.dtype, device=values_T.device)
        return zeros.masked_scatter(mask_BGR, values_T)

    return GroupLogprobs(*map(padded, found))
