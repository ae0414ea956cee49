"""The small parts of a layer, each by one kernel: norms, rotary positions, the gate of an MLP. CUDA alone.

transformers writes them as up to a dozen operations. Each is a kernel of its own, which reads all that
the one before has written: in decoding their number is the time, in training their bytes are. The norm
is PyTorch's own; the others are the same expressions, compiled. Parts that fail a trial, and those of
the plain pass, stay as transformers has them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from inspect import signature
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

log = logging.getLogger(__name__)

ROTARY = ("apply_rotary_pos_emb", "apply_rotary_pos_emb_vision")  # functions of a model's file
COMPILE: Callable[[Callable], Callable] = partial(torch.compile, dynamic=True)
_enabled = True
_tried = False  # and found to work
_compiled: dict[Callable, Callable] = {}


def fuse(model: nn.Module) -> bool:
    """Put fused parts into a model, if they do on its device what the originals do; a warning if not."""
    global _tried
    modules = list(model.modules())
    files = {sys.modules[type(module).__module__] for module in modules}
    rotary = [(file, name) for file in files for name in ROTARY if _turns_both(getattr(file, name, None))]
    rotary = [(file, name) for file, name in rotary if not hasattr(getattr(file, name), "__wrapped__")]
    gate = COMPILE(gated)
    rotations = [(file, name, COMPILE(getattr(file, name))) for file, name in rotary]
    try:
        off = _trial(model, gated, gate, [(64, 96), (64, 96)])
        for file, name, fast in rotations:
            heads, angles = ((9, 4, 16), (9, 16)) if "vision" in name else ((1, 4, 9, 16), (1, 9, 16))
            off = max(off, _trial(model, getattr(file, name), fast, [heads, heads, angles, angles]))
    except Exception as error:  # a compiler fails in many ways
        reason = str(error).split("\n")[0]
        log.warning("Parts of the layers cannot be compiled (%s); steps are slower.", reason)
        return False
    if not off < 0.05:
        log.warning("Compiled parts of the layers are not used: they are off by %.2g. Steps are slower.", off)
        return False
    for file, name, fast in rotations:
        setattr(file, name, _switch(getattr(file, name), fast))
    for module in modules:
        if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            module.forward = MethodType(_normed, module)
        elif _is_gated(module):
            module.forward = MethodType(partial(_projected, gate), module)
    _tried = True
    return True


def _turns_both(function: Any) -> bool:
    """Whether it is what turns queries and keys; Gemma 4's turns one of them."""
    return function is not None and list(signature(function).parameters)[:4] == ["q", "k", "cos", "sin"]


def _is_gated(module: nn.Module) -> bool:
    """Whether it is an MLP with a gate, and nothing more."""
    parts = dict(module.named_children())
    whole = parts.keys() == {"gate_proj", "up_proj", "down_proj", "act_fn"}
    return whole and type(parts["act_fn"]).__name__ in ("SiLU", "SiLUActivation")


def available(rows: torch.Tensor) -> bool:
    """Whether what is computed of these rows can be compiled: on a GPU, where it was tried and works."""
    return _tried and _enabled and not rows.is_cpu


def compiled(function: Callable) -> Callable:
    """The function as one kernel, or a few, where compiling was tried and works."""
    if not (_tried and _enabled):
        return function
    if function not in _compiled:
        _compiled[function] = COMPILE(function)
    return _compiled[function]


@contextmanager
def unfused() -> Iterator[None]:
    """Within the block every model computes as transformers has it."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def disable() -> None:
    """As `unfused`, for good: the plain pass has taken over."""
    global _enabled
    _enabled = False


def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return F.silu(gate) * up


def _projected(gate: Callable, module: Any, rows: torch.Tensor) -> torch.Tensor:
    """The forward pass of a gated MLP."""
    if not _enabled:
        return type(module).forward(module, rows)
    return module.down_proj(gate(module.gate_proj(rows), module.up_proj(rows)))


def _normed(module: Any, rows: torch.Tensor) -> torch.Tensor:
    """The forward pass of a root-mean-square norm (arXiv 1910.07467)."""
    if not _enabled:
        return type(module).forward(module, rows)
    return F.rms_norm(rows, module.weight.shape, module.weight, module.variance_epsilon)


def _switch(original: Callable, fast: Callable) -> Callable:
    """The fast function for what lies on a GPU."""

    @wraps(original)
    def either(q: torch.Tensor, *rest: Any, **named: Any) -> Any:
        return (fast if available(q) else original)(q, *rest, **named)

    return either


def _trial(model: nn.Module, original: Callable, fast: Callable, shapes: Sequence[tuple[int, ...]]) -> float:
    """By how much results and gradients of random numbers differ, as a share of the largest."""
    like = next(model.parameters())
    generator = torch.Generator(like.device).manual_seed(0)
    made = [torch.randn(shape, generator=generator, device=like.device).to(like.dtype) for shape in shapes]
    results = []
    for function in (original, fast):
        with torch.enable_grad():
            leaves = [x.requires_grad_() for x in made[:2]]  # angles take no gradient
            outputs = function(*leaves, *made[2:])
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            gradients = torch.autograd.grad(outputs, leaves, [x.detach() for x in outputs])
        results.append([x.detach() for x in (*outputs, *gradients)])
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*results, strict=True))
