"""Matrix products of float32 on a CPU by oneDNN, where it is faster.

PyTorch leaves them to MKL, which keeps to 256 bits on processors that are not Intel's: oneDNN, which comes
with PyTorch, too, is more than twice as fast where units are wider, and slower where they are not. It makes a
kernel for every number of rows that it meets, so that rows are filled up to one of a few.

Shapes: M rows, K features of each, N of what is made of it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

log = logging.getLogger(__name__)

FEWEST = 24  # rows, and
LEAST = 1 << 21  # multiply-adds: below, the call takes longer than the product
STEP = 16  # rows that are filled up to, at least
STEPS = 8  # numbers of rows within a factor of two, at most
ZEN_5 = 26  # the family of AMD's processors whose units have 512 bits

Map = tuple[torch.Tensor, torch.Tensor | None]  # a weight [N, K] and a bias [N]


def take_over(model: nn.Module) -> None:
    """Have the linear maps of a model on a CPU computed here."""
    maps: list[Any] = list(filter(is_plain, model.modules()))
    for module in maps:
        module.forward = partial(_forward, module)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a linear map of a matrix of numbers; torchao's, say, are of a kind of their own."""
    return type(module) is nn.Linear and type(module.weight) in (nn.Parameter, torch.Tensor)


def used() -> bool:
    """Whether products are oneDNN's in this process."""
    return _enabled


def leave_to_pytorch(reason: str) -> None:
    """Have all products computed by PyTorch from now on, after a warning."""
    global _enabled
    _enabled = False
    log.warning("Products by oneDNN are not used: %s. A CPU is slower without.", reason)


@contextmanager
def by_pytorch() -> Iterator[None]:
    """Within the block products are PyTorch's own."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """As `torch.nn.functional.linear`, of rows [..., K]."""
    if torch.is_grad_enabled():
        return linears(rows, (weight, bias))[0]
    if not _takes(rows, weight):
        return F.linear(rows, weight, bias)
    flat_MK = rows if rows.dim() == 2 else rows.flatten(0, -2)  # a call counts where rows are few
    filled_MK = _filled(flat_MK)
    made_MN = _product(filled_MK, weight, bias)
    if len(filled_MK) > len(flat_MK):
        made_MN = made_MN[: len(flat_MK)]
    return made_MN if rows.dim() == 2 else made_MN.unflatten(0, rows.shape[:-1])


def linears(rows: torch.Tensor, *maps: Map) -> Sequence[torch.Tensor]:
    """What several maps make of the same rows [..., K], by one product: [..., N] of each."""
    if not _takes(rows, *(weight for weight, _ in maps)):
        return [F.linear(rows, *one) for one in maps]
    flat, parts = rows.reshape(-1, rows.shape[-1]), [part for one in maps for part in one]
    all_MN = _Linears.apply(flat, *parts) if torch.is_grad_enabled() else _made(flat, parts)[0]
    return [made_MN.view(*rows.shape[:-1], -1) for made_MN in all_MN]


def _takes(rows: torch.Tensor, *weights: torch.Tensor) -> bool:
    """Whether their product is one for oneDNN."""
    if not _enabled:
        return False
    count = rows.numel() // max(rows.shape[-1], 1)
    large = count >= FEWEST and count * sum(weight.numel() for weight in weights) >= LEAST
    return large and all(one.dtype == torch.float32 and one.is_cpu for one in (rows, *weights))


def _forward(module: nn.Linear, rows: torch.Tensor) -> torch.Tensor:
    return linear(rows, module.weight, module.bias)


class _Linears(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_MK: torch.Tensor, *parts: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        made, weight_NK = _made(rows_MK, parts)
        ctx.save_for_backward(rows_MK, weight_NK)
        return made

    @staticmethod
    def backward(ctx: Any, *grads_MN: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (rows_MK, weight_NK), sizes = ctx.saved_tensors, [grad.shape[1] for grad in grads_MN]
        of_rows, *of_parts = ctx.needs_input_grad
        grad_MN = _filled(*grads_MN)
        parts: list[torch.Tensor | None] = [None] * len(of_parts)
        if any(of_parts[::2]):
            parts[::2] = _outer(grad_MN, _filled(rows_MK)).split(sizes)
        if any(of_parts[1::2]):
            parts[1::2] = grad_MN.sum(0).split(sizes)
        taken = (part if needed else None for part, needed in zip(parts, of_parts, strict=True))
        return _product(grad_MN, weight_NK.t())[: len(rows_MK)] if of_rows else None, *taken


def _made(rows_MK: torch.Tensor, parts: Sequence[Any]) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """What each map makes, and the weights of all: `parts` are weights and biases by turns."""
    weight_NK, bias_N = side_by_side(*zip(parts[::2], parts[1::2], strict=True))
    made_MN = _product(_filled(rows_MK), weight_NK, bias_N)[: len(rows_MK)]
    return made_MN.split([len(weight) for weight in parts[::2]], 1), weight_NK


def side_by_side(*maps: Map) -> Map:
    """Several maps of the same rows as one."""
    if len(maps) == 1:
        return maps[0]
    weights, biases = zip(*maps, strict=True)
    if all(bias is None for bias in biases):
        return torch.cat(weights), None
    return torch.cat(weights), torch.cat(
        [weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in maps]
    )


def _product(
    rows_MK: torch.Tensor, weight_NK: torch.Tensor, bias_N: torch.Tensor | None = None
) -> torch.Tensor:
    made_MN: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows_MK, weight_NK, bias_N, "none", [], "")
    return made_MN


def _outer(grad_MN: torch.Tensor, rows_MK: torch.Tensor) -> torch.Tensor:
    """The gradient of a weight [N, K]; the wider side of it is the faster one to have last."""
    if grad_MN.shape[1] > rows_MK.shape[1]:
        return _product(rows_MK.t(), grad_MN.t()).t().contiguous()
    return _product(grad_MN.t(), rows_MK.t())


def _filled(*parts_MN: torch.Tensor) -> torch.Tensor:
    """Side by side, with rows of zeros after them, which add nothing to any product."""
    count = len(parts_MN[0])
    whole = count + -count % max(STEP, (1 << count.bit_length()) // (2 * STEPS))
    if whole == count and len(parts_MN) == 1:
        return parts_MN[0].contiguous()
    filled = parts_MN[0].new_empty(whole, sum(part.shape[1] for part in parts_MN))
    torch.cat(parts_MN, 1, out=filled[:count])
    filled[count:].zero_()
    return filled


def _works() -> bool:
    """Whether this PyTorch has oneDNN, and the operation, which gives what PyTorch's own products give."""
    generator = torch.Generator().manual_seed(0)
    rows_MK, weight_NK, grad_MN = (
        torch.randn(shape, generator=generator) for shape in ((40, 24), (56, 24), (40, 56))
    )
    try:
        pairs = (
            (_product(rows_MK, weight_NK, grad_MN[0]), F.linear(rows_MK, weight_NK, grad_MN[0])),
            (_product(grad_MN, weight_NK.t()), grad_MN @ weight_NK),
            (_outer(grad_MN, rows_MK), grad_MN.t() @ rows_MK),
            (_outer(rows_MK, grad_MN), rows_MK.t() @ grad_MN),
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3) for ours, theirs in pairs)


def _pays(facts: str) -> bool:
    """Whether oneDNN is the faster one on a processor.

    Told by its make and not by a clock, so that the bits of a run do not depend on what else a machine does.

    Args:
        facts: as Linux tells them in `/proc/cpuinfo`.
    """
    told = dict(re.findall(r"^(vendor_id|cpu family)\s*:\s*(\w+)$", facts, re.MULTILINE))
    return told.get("vendor_id") == "AuthenticAMD" and int(told.get("cpu family", "0")) >= ZEN_5


def _facts() -> str:
    file = Path("/proc/cpuinfo")
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


_enabled = torch.backends.mkldnn.is_available() and _pays(_facts()) and _works()
