"""What a GPU has one kernel for, and the CPU many: attention, and what a compiler joins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional as F

from steps.count import ATTENTION, PRODUCTS, Meter, bytes_of


def as_compiled(meter: Meter, function: Any) -> Any:
    """The function as if it was compiled."""

    def call(*args: Any, **named: Any) -> Any:
        if not any(isinstance(x, torch.Tensor) and x.is_meta for x in args):
            return function(*args, **named)
        if torch.is_grad_enabled() and any(isinstance(x, torch.Tensor) and x.requires_grad for x in args):
            return _AsOne.apply(meter, function, *args)
        with meter.fusing():
            return function(*args, **named)

    return call


class _AsOne(torch.autograd.Function):
    """A function and its backward pass as a kernel each, which keeps what the function was given."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, function: Any, *args: Any) -> Any:
        ctx.meter = meter
        ctx.save_for_backward(*(x for x in args if isinstance(x, torch.Tensor)))
        ctx.places = [isinstance(x, torch.Tensor) and x.is_meta for x in args]
        with meter.fusing():
            return function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple:
        saved = iter(ctx.saved_tensors)
        inputs = [next(saved) if place else None for place in ctx.places]
        wanted = [x if need else None for x, need in zip(inputs, ctx.needs_input_grad[2:], strict=True)]
        kept = [x for x in (*inputs, *wanted, *grads) if x is not None]
        ctx.meter.kernel("compiled, backward", 0.0, sum(map(bytes_of, kept)), PRODUCTS)
        return None, None, *(None if x is None else x.new_empty(x.shape) for x in wanted)


@contextmanager
def on_a_gpu(meter: Meter) -> Iterator[None]:
    """Within the block operations are counted, and attention is a kernel that keeps no scores."""
    attention, tensor, norm = F.scaled_dot_product_attention, torch.tensor, F.rms_norm
    with torch.device("meta"):  # on first use PyTorch notes for good which functions take a device: not ours
        tensor(0)

    def attend(q: Any, k: Any, v: Any, attn_mask: Any = None, is_causal: bool = False, **rest: Any) -> Any:
        if not q.is_meta:
            return attention(q, k, v, attn_mask, is_causal=is_causal, **rest)
        return _Attend.apply(q, k, v, meter, attn_mask, is_causal)

    def known(data: Any, **options: Any) -> torch.Tensor:
        return tensor(data, **{key: value for key, value in options.items() if key != "device"})

    def normed(rows: Any, shape: Any, weight: Any, eps: float) -> Any:
        return as_compiled(meter, lambda rows, weight: norm(rows, shape, weight, eps))(rows, weight)

    with ExitStack() as stack:
        stack.enter_context(patch.object(F, "scaled_dot_product_attention", attend))
        stack.enter_context(patch.object(F, "rms_norm", normed))
        stack.enter_context(patch.object(torch, "tensor", known))
        with suppress(ImportError):  # a build from before they were used
            from holdfast.policy import flash, fused

            stack.enter_context(patch.object(fused, "COMPILE", partial(as_compiled, meter)))
            stack.enter_context(patch.object(fused, "_trial", lambda *_: 0.0))
            stack.enter_context(patch.object(fused, "_tried", fused._tried))  # outside, nothing is compiled
            stack.enter_context(patch.object(flash, "usable", lambda query, key: query.is_meta))
            stack.enter_context(patch.object(flash, "_forward", partial(_flash_forward, meter)))
            stack.enter_context(patch.object(flash, "_backward", partial(_flash_backward, meter)))
        stack.enter_context(meter)
        yield


def _flash_forward(meter: Meter, query: Any, key: Any, value: Any, part: Any, scaling: float) -> Any:
    moved = sum(map(bytes_of, (query, key, value, query)))
    meter.kernel("attention, flash", _pairs(part) * 4.0 * query[0].numel(), moved, ATTENTION["flash"][0])
    return torch.empty_like(query), query.new_empty(query.shape[1::-1], dtype=torch.float32), (query, query)


def _flash_backward(
    meter: Meter, grad: Any, query: Any, key: Any, value: Any, out: Any, sums: Any, part: Any, *_: Any
) -> Any:
    moved = 2 * sum(map(bytes_of, (query, key, value, query)))
    operations = 2.5 * _pairs(part) * 4.0 * query[0].numel()
    meter.kernel("attention, flash, backward", operations, moved, ATTENTION["flash"][1])
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _pairs(part: Any) -> float:
    """Queries times the keys that they see."""
    queries, keys = part.queries.starts.diff().double(), part.keys.starts.diff().double()
    return float((queries * keys).sum()) * (0.5 if part.causal else 1.0)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, meter: Meter, mask: Any, causal: bool) -> torch.Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.meter, ctx.causal, ctx.kind = meter, causal, "flash" if mask is None else "masked"
        ctx.mask = 0 if mask is None else bytes_of(mask) * (q.shape[1] if mask.shape[1] > 1 else 1)
        moved = sum(map(bytes_of, (q, k, v, q))) + ctx.mask
        meter.kernel(
            f"attention, {ctx.kind}", attention_operations(q, k, causal), moved, ATTENTION[ctx.kind][0]
        )
        return q.new_empty(q.shape)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        q, k, v = ctx.saved_tensors
        operations = 2.5 * attention_operations(q, k, ctx.causal)
        moved = 2 * sum(map(bytes_of, (q, k, v, q))) + ctx.mask
        name = f"attention, {ctx.kind}, backward"
        ctx.meter.kernel(name, operations, moved, ATTENTION[ctx.kind][1])
        return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), None, None, None


def attention_operations(q: torch.Tensor, k: torch.Tensor, causal: bool) -> float:
    """Of the two products; half of them where later keys are hidden. Shapes [batch, heads, length, size]."""
    return 4.0 * q.numel() * k.shape[2] * (0.5 if causal else 1.0)
