"""AdamW and its schedule."""

from __future__ import annotations

import math

import torch

from holdfast.learning.settings import Method


def make_optimizer(model: torch.nn.Module, method: Method) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; only matrices decay."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": method.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=method.learning_rate, betas=method.betas, fused=True
    )


def learning_rate(method: Method, step: int, steps: int) -> float:
    """The rate of a step (0-based) out of `steps`: linear warm-up, then constant or a cosine to zero."""
    warmup = math.ceil(method.warmup * steps)
    if step < warmup:
        return method.learning_rate * (step + 1) / warmup
    if method.schedule == "constant":
        return method.learning_rate
    return method.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
