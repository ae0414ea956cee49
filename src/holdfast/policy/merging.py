"""Rules that make one task vector of several; one is a state of a model less its base, τ = θ − θ_0."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import reduce

import torch

from holdfast.rng import torch_stream

# Task vectors of one weight, a share, its name and what it is in the base; all in float32.
Rule = Callable[[Sequence[torch.Tensor], float, str, torch.Tensor], torch.Tensor]
SHARES = {"dare": 0.1, "intruders": 0.75, "ties": 0.2}  # what these keep, if nothing else is said
OF_ONE = ("intruders", "wise")  # rules for a single task vector
LOOKED_AT, KNOWN = 10, 0.5  # of intruders: how many directions, the largest first; the cosine that is enough
_LAYER = re.compile(r"(.+?)\.(\d+)\.\w+\.\w")  # a stack and the number of a layer in it, which has parts


def by_depth(names: Collection[str], shallow: float) -> dict[str, float]:
    """How much of each weight's change is kept, by its name: Wang et al. (LiNeS, arXiv 2410.17146):

        λ = α + (1 − α) (ℓ − 1) / (L − 1)        in layer ℓ of L, with α = `shallow`

    so that first layers, which many tasks share, stay near what they were. What is in no layer has α, as in
    the authors' code. Here each stack of layers, a vision tower or a language model, counts by itself.
    """
    layers = {name: (found[1], int(found[2])) for name in names if (found := _LAYER.match(name))}
    last: dict[str, int] = {}
    for stack, layer in layers.values():
        last[stack] = max(layer, last.get(stack, 0))
    depths = {name: layer / last[stack] if last[stack] else 1.0 for name, (stack, layer) in layers.items()}
    return {name: shallow + (1 - shallow) * depths.get(name, 0.0) for name in names}


def larger(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of each entry the one that is larger without its sign; the first where they are alike."""
    return torch.where(other.abs() > one.abs(), other, one)


def trim(vector: torch.Tensor, share: float) -> torch.Tensor:
    """The largest ⌊share · n⌋ of n entries, at least one if there is any; the others are zero."""
    flat = vector.flatten()
    kept = torch.zeros_like(flat)
    places = flat.abs().topk(min(len(flat), max(1, int(share * len(flat))))).indices
    kept[places] = flat[places]
    return kept.view_as(vector)


def drop(vector: torch.Tensor, share: float, *stream: object) -> torch.Tensor:
    """Each entry stays with the chance `share`, and is divided by it; else it is zero.

    Drop and rescale, with p = 1 − share: Yu et al. (arXiv 2311.03099).

    Args:
        stream: names of the random stream that is drawn from.
    """
    generator = torch_stream("dare", *stream, device=str(vector.device))
    stays = torch.rand(vector.shape, generator=generator, device=vector.device) < share
    return torch.where(stays, vector / share, 0)


def dare(vectors: Sequence[torch.Tensor], share: float, name: str, *_: object) -> torch.Tensor:
    """The sum of what is left of each; what is dropped depends on the tensor's name and a vector's place."""
    return sum_of([drop(vector, share, name, place) for place, vector in enumerate(vectors)])


def ties(vectors: Sequence[torch.Tensor], share: float, *_: object) -> torch.Tensor:
    """Trim, elect the sum's sign, take the mean of those that have it: Yadav et al. (arXiv 2306.01708)."""
    kept = torch.stack([trim(vector, share) for vector in vectors])
    agreeing = (kept.sign() == kept.sum(0).sign()) & (kept != 0)
    return (kept * agreeing).sum(0) / agreeing.sum(0).clamp_min(1)


def intruders(vectors: Sequence[torch.Tensor], share: float, name: str, base: torch.Tensor) -> torch.Tensor:
    """A difference Δ [O, I] with only a share of its intruder dimensions, ‖u‖ = ‖v‖ = 1:

        Δ − (1 − share) Σ σ u vᵀ

    over those of the ten largest singular values of W + Δ whose u [O] has no left singular vector of the
    base's W with |cosine| of 0.5 or more beside it: Shuttleworth et al. (arXiv 2410.21228). What is no
    matrix, or did not change, is as it was.
    """
    (change,) = vectors
    if change.dim() != 2 or not bool(change.any()):
        return change
    known_OK = torch.linalg.svd(base, full_matrices=False).U
    left_OK, values_K, right_KI = torch.linalg.svd(base + change, full_matrices=False)
    cosines = (left_OK[:, :LOOKED_AT].T @ known_OK).abs().amax(1)
    places = (cosines < KNOWN).nonzero().flatten()
    return change - (1 - share) * (left_OK[:, places] * values_K[places]) @ right_KI[places]


def mean(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(vectors)).mean(0)


def sum_of(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(vectors)).sum(0)


RULES: dict[str, Rule] = {
    "average": lambda vectors, *_: mean(vectors),
    "dare": dare,
    "intruders": intruders,
    "magmax": lambda vectors, *_: reduce(larger, vectors),  # Marczak et al. (arXiv 2407.06322)
    "sum": lambda vectors, *_: sum_of(vectors),  # Ilharco et al. (arXiv 2212.04089)
    "ties": ties,
    "wise": lambda vectors, *_: mean(vectors),  # of one: Wortsman et al. (arXiv 2109.01903)
}
