"""Attention among packed segments by FlashAttention's kernels (arXiv 2307.08691). CUDA alone.

They read rows as they lie, one segment after the other: nothing is padded, copied or masked. Queries
that see two sets of keys (a completion's see its prompt and its own past) are computed for each and
merged by the log-sum-exp of their scores. Scores of the union are what both backward passes need, so
they are given the merged result and its log-sum-exp, and their gradients add up.

Shapes: N packed queries, K packed keys, H query heads, h key/value heads, D head size.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

log = logging.getLogger(__name__)

DTYPES = (torch.bfloat16, torch.float16)  # that the kernels take


@dataclass(frozen=True)
class Bounds:
    """Where segments begin in packed rows, the last one's end included: int32 [segments + 1]."""

    starts: torch.Tensor
    longest: int

    @classmethod
    def of(cls, lengths: torch.Tensor) -> Bounds:
        starts = F.pad(lengths.flatten().cumsum(0), (1, 0)).int()
        return cls(starts, int(lengths.max()) if lengths.numel() else 0)


@dataclass(frozen=True)
class Part:
    """Segment s of some packed queries sees segment s of some packed keys: all of it, or causally."""

    rows: slice
    queries: Bounds
    columns: slice
    keys: Bounds
    causal: bool


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, parts: Sequence[Part], scaling: float
) -> torch.Tensor:
    """query [N, H, D], key and value [K, h, D] to [N, H, D].

    Parts say in order what all rows of queries and keys see; two parts share rows that begin alike.
    """
    return _Attend.apply(query, key, value, parts, scaling)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        parts: Sequence[Part],
        scaling: float,
    ) -> torch.Tensor:
        seeds: list[Seed] = []

        def compute(part: Part) -> tuple[torch.Tensor, torch.Tensor]:
            columns = part.columns
            *made, seed = _forward(query[part.rows], key[columns], value[columns], part, scaling)
            seeds.append(seed)
            return made[0], made[1]

        done: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by first row
        for part in parts:
            start, made = part.rows.start, compute(part)
            done[start] = _merged(*done[start], *made) if start in done else made
        outs, sums = zip(*done.values(), strict=True)
        out, sums_HN = torch.cat(outs), torch.cat(sums, 1)
        ctx.save_for_backward(query, key, value, out, sums_HN)
        ctx.parts, ctx.scaling, ctx.seeds = parts, scaling, seeds
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        query, key, value, out, sums_HN = ctx.saved_tensors
        done: list[dict[int, torch.Tensor]] = [{}, {}, {}]  # gradients by first row
        for part, seed in zip(ctx.parts, ctx.seeds, strict=True):
            rows, columns = part.rows, part.columns
            made = _backward(
                grad[rows], query[rows], key[columns], value[columns], out[rows],
                sums_HN[:, rows].contiguous(), part, seed, ctx.scaling,
            )  # fmt: skip
            for kept, place, more in zip(done, (rows, columns, columns), made, strict=True):
                kept[place.start] = kept[place.start] + more if place.start in kept else more
        return *(torch.cat([*kept.values()]) for kept in done), None, None


def _merged(
    out: torch.Tensor, sums_HN: torch.Tensor, other: torch.Tensor, other_HN: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Results over two sets of keys as that over both, with its log-sum-exp."""
    share_N1 = (other_HN - sums_HN).sigmoid().t().unsqueeze(-1)
    merged = torch.lerp(out.to(share_N1.dtype), other.to(share_N1.dtype), share_N1)
    return merged.to(out.dtype), torch.logaddexp(sums_HN, other_HN)


Seed = tuple[torch.Tensor, torch.Tensor]  # of dropout, of which there is none


def _forward(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, part: Part, scaling: float
) -> tuple[torch.Tensor, torch.Tensor, Seed]:
    """The result [N, H, D] and the log-sum-exp of the scores, float32 [H, N]."""
    out, sums_HN, *seed, _ = torch.ops.aten._flash_attention_forward(
        query, key, value, part.queries.starts, part.keys.starts, part.queries.longest, part.keys.longest,
        0.0, part.causal, False, scale=scaling,
    )  # fmt: skip
    return out, sums_HN, (seed[0], seed[1])


def _backward(
    grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, out: torch.Tensor,
    sums_HN: torch.Tensor, part: Part, seed: Seed, scaling: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradients of query, key and value."""
    return torch.ops.aten._flash_attention_backward(
        grad.contiguous(), query, key, value, out, sums_HN, part.queries.starts, part.keys.starts,
        part.queries.longest, part.keys.longest, 0.0, part.causal, *seed, scale=scaling,
    )  # fmt: skip


def usable(query: torch.Tensor, key: torch.Tensor) -> bool:
    """Whether queries and keys, [..., H, N, D], can be attended here."""
    heads = query.shape[-3], key.shape[-3], query.shape[-1]
    return query.is_cuda and query.dtype in DTYPES and works(query.device, query.dtype, *heads)


@lru_cache
def works(device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, size: int) -> bool:
    """Whether result and gradients are those of plain attention, on a small case; a warning if not."""
    generator = torch.Generator(device).manual_seed(0)
    first, second = torch.tensor([3, 70]), torch.tensor([2, 5])  # keys that two segments of queries see
    shapes = ((80, heads, size), (80, kv_heads, size), (80, kv_heads, size))
    leaves = [torch.randn(shape, generator=generator, device=device).to(dtype) for shape in shapes]
    prompts, own = Bounds.of(first.to(device)), Bounds.of(second.to(device))
    parts = [
        Part(slice(0, 73), prompts, slice(0, 73), prompts, True),
        Part(slice(73, 80), own, slice(0, 73), prompts, False),
        Part(slice(73, 80), own, slice(73, 80), own, True),
    ]
    try:
        with torch.enable_grad():
            found = _with_gradients(lambda q, k, v: attend(q, k, v, parts, size**-0.5), leaves)
            wanted = _with_gradients(
                lambda q, k, v: _plain(q, k, v, _sees(first, second).to(device)), [x.float() for x in leaves]
            )
        off = max(
            float((a.float() - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)
        )
    except (RuntimeError, AttributeError, TypeError) as error:
        log.warning("FlashAttention's kernels cannot be used (%s); attention is slower.", error)
        return False
    if not off < 0.05:
        log.warning("FlashAttention's kernels are not used: they are off by %.2g. Attention is slower.", off)
    return off < 0.05


def _with_gradients(work: Any, leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    out = work(*leaves)
    weights = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, weights)]


def _sees(prompts: torch.Tensor, completions: torch.Tensor) -> torch.Tensor:
    """Who sees whom among packed prompts and completions, one completion each: bool [N, N]."""
    owner = torch.cat([torch.arange(len(x)).repeat_interleave(x) for x in (prompts, completions)])
    steps = torch.arange(len(owner))
    return (owner == owner[:, None]) & (steps <= steps[:, None])


def _plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sees: torch.Tensor) -> torch.Tensor:
    q, k, v = (x.transpose(0, 1)[None] for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, sees, enable_gqa=True)[0].transpose(0, 1)
