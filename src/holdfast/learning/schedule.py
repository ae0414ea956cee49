"""The learning rate over a stage."""

from __future__ import annotations

import math

from holdfast.learning.methods import Method


def learning_rate(method: Method, step: int, steps: int) -> float:
    """The rate of a step (0-based) out of `steps`: linear warm-up, then constant or a cosine to zero."""
    warmup = math.ceil(method.warmup * steps)
    if step < warmup:
        return method.learning_rate * (step + 1) / warmup
    if method.schedule == "constant":
        return method.learning_rate
    return method.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
