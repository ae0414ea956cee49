"""Rules that make one task vector of several; one is a state of a model less its base, τ = θ − θ_0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch

Rule = Callable[[Sequence[torch.Tensor], float], torch.Tensor]


def larger(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of each entry the one that is larger without its sign; the first where they are alike."""
    return torch.where(other.abs() > one.abs(), other, one)


def trim(vector: torch.Tensor, share: float) -> torch.Tensor:
    """The largest ⌊share · n⌋ of n entries, at least one; the others are zero."""
    flat = vector.flatten()
    kept = torch.zeros_like(flat)
    places = flat.abs().topk(max(1, int(share * flat.numel()))).indices
    kept[places] = flat[places]
    return kept.view_as(vector)


def ties(vectors: Sequence[torch.Tensor], share: float) -> torch.Tensor:
    """Trim, elect the sum's sign, take the mean of those that have it: Yadav et al. (arXiv 2306.01708)."""
    kept = torch.stack([trim(vector, share) for vector in vectors])
    agreeing = (kept.sign() == kept.sum(0).sign()) & (kept != 0)
    return (kept * agreeing).sum(0) / agreeing.sum(0).clamp_min(1)


def mean(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(vectors)).mean(0)


RULES: dict[str, Rule] = {
    "average": lambda vectors, _: mean(vectors),
    "magmax": lambda vectors, _: reduce(larger, vectors),  # Marczak et al. (arXiv 2407.06322)
    "sum": lambda vectors, _: torch.stack(list(vectors)).sum(0),  # Ilharco et al. (arXiv 2212.04089)
    "ties": ties,
    "wise": lambda vectors, _: mean(vectors),  # of one: Wortsman et al. (arXiv 2109.01903)
}
