"""Orthogonal gradient descent: to first order, what the policy said of earlier tasks stays as likely.

OGD (Farajtabar et al., arXiv 1910.07104), algorithm 1. With S [K, N] orthonormal directions, none in the
first stage:

    Δθ ← Δθ − Sᵀ S Δθ     of every gradient, and after every step of what the stage has changed: AdamW leaves
                          the complement of S, and the paper's descent does not
    S ← S and what ∇f(x) has beside S, made as long as 1,    of examples x of the task, at a stage's end

f is there the logit of the true class. Here, our reading, it is the log-probability of an answer that the
policy draws, as with `ewc`. All tasks share the room of S alike: with each more every one keeps fewer
directions, the first that were found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.bfloat16 import put
from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.passes import drawn_answers
from holdfast.learning.retention.vectors import (
    add_to_gradient,
    exact_weights,
    flat_gradient,
    flat_weights,
    share_of,
    unusable,
    views,
)
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import completion_gradients

START = "start"  # in memory beside directions [k, N], which have the number of their task for a name
NOTHING_NEW = 1e-3  # of a gradient's length beside S: the rest is in S, and this may be rounding


class OGD(Strategy):
    kind: Literal["ogd"] = "ogd"
    directions: int = Field(32, ge=1)  # of all earlier tasks together; at least one of each
    max_tokens: int = Field(64, ge=1)  # of an answer

    @property
    def copies(self) -> float:  # type: ignore[override]  # it depends on a setting
        """S; the weights as they were, as they are, and what is taken from these."""
        return self.directions + 3

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up S; changes are counted from the weights as they are now."""
        if not (left := stage.inherited.get(self.name)):
            return
        start_N = flat_weights(stage.policy)
        for task, found_KN in left.items():
            if found_KN.shape[1:] != start_N.shape or not bool(found_KN.isfinite().all()):
                why = f"its directions of task {task} are no {len(start_N)} usable numbers each"
                raise unusable(self.name, why)
            memory[task] = found_KN.to(start_N.device)
        memory[START] = start_N

    @torch.no_grad()
    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Project the gradient, from the second stage on; the share of its norm that this takes is logged."""
        if not memory:
            return {}
        gradient_N = flat_gradient(stage.policy)
        away_N = within(_directions(memory).values(), gradient_N)
        add_to_gradient(stage.policy, -away_N)
        return {"ogd_share": share_of(away_N.square().sum(), gradient_N.square().sum())}

    @torch.no_grad()
    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Project what has been learned, from the second stage on."""
        if memory:
            weights_N = exact_weights(stage.policy, optimizer)
            weights_N -= within(_directions(memory).values(), weights_N - memory[START])
            for parameter, part in views(stage.policy, weights_N):
                put(parameter, optimizer.state.get(parameter, {}), part)
        return {}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """S, with the directions of this stage's task."""
        old = _directions(memory)
        room = max(1, self.directions // (len(old) + 1))
        kept = {task: directions_KN[:room] for task, directions_KN in old.items()}
        found: list[torch.Tensor] = []
        for answered in drawn_answers(stage, self.name, stage.items, room, self.max_tokens):
            _, gradient_N = next(completion_gradients(stage.policy, *answered, temperature=1.0))
            if (new_N := beside([*kept.values(), *(one[None] for one in found)], gradient_N)) is not None:
                found.append(new_N)
        return kept | ({str(len(old)): torch.stack(found)} if found else {})


def _directions(memory: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """S, task by task."""
    return {task: tensor for task, tensor in memory.items() if task != START}


def within(bases: Iterable[torch.Tensor], vector_N: torch.Tensor) -> torch.Tensor:
    """The part [N] of a vector in the span of bases [k, N] that are orthonormal together.

    Products are summed by `sum`, in pairs: `@` and `norm` add a million numbers one after the other, where
    float32 has three digits left.
    """
    part_N = torch.zeros_like(vector_N)
    for base_KN in bases:
        for direction_N in base_KN:
            part_N.add_(direction_N * (direction_N * vector_N).sum())
    return part_N


def beside(bases: Iterable[torch.Tensor], vector_N: torch.Tensor) -> torch.Tensor | None:
    """The direction [N] of what a vector has beside the span of orthonormal bases; None where that is all.

    By Gram and Schmidt, twice, since the first time leaves what rounding leaves.
    """
    bases, square = list(bases), float(vector_N.square().sum())
    for _ in range(2):
        vector_N = vector_N - within(bases, vector_N)
    rest = float(vector_N.square().sum())
    return vector_N / rest**0.5 if rest > NOTHING_NEW**2 * square else None
