"""FOREVER: replay comes back in model time, at the days of a forgetting curve.

Feng et al. (arXiv 2601.03938) measure time by how far the weights have gone in the stage, and a day by its
first S optimiser steps:

    τ ← τ + ‖θ − θ before the step‖        day = τ after S steps
    the j-th replay comes when τ ≥ d_j · day,   d = 1, 2, 4, 7, 15, 30

Our reading: a replay is one batch with a share of old examples, as in `er`; after 30 days the distance
doubles. What the paper adds besides is left out: a pull to the old weights in replays, the stronger the
larger steps are (`l2` is one of constant strength).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.generate.rollouts import Item
from holdfast.learning.retention import Memory
from holdfast.learning.retention.er import ExperienceReplay
from holdfast.learning.retention.pool import count
from holdfast.learning.retention.vectors import exact_weights, flat_weights
from holdfast.learning.stage import Stage

DAYS = (1, 2, 4, 7, 15, 30)  # of the curve


class Forever(ExperienceReplay):
    copies = 4  # the weights before a step and after it; on a CPU their difference in float64

    kind: Literal["forever"] = "forever"  # type: ignore[assignment]
    share: float = Field(0.5, gt=0, lt=1)  # of a batch of replay
    day: int = Field(24, ge=1)  # S, steps

    def begin(self, stage: Stage, memory: Memory) -> None:
        if stage.earlier:
            memory["before"] = flat_weights(stage.policy)

    def batch(self, stage: Stage, memory: Memory, items: list[Item], iteration: int) -> list[Item]:
        """As they are, or with old examples where a replay is due."""
        if "day" not in memory:
            return items
        done = int(memory.get("replays", 0))
        if float(memory["moved"]) < due(done) * float(memory["day"]):
            return items
        count(memory, "replays")
        return super().batch(stage, memory, items, iteration)

    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Go on in model time; `forever_days` is how far it is, from the first day on."""
        if "before" not in memory:
            return {}
        now = exact_weights(stage.policy, optimizer)
        step = torch.linalg.vector_norm(memory["before"].sub_(now), dtype=torch.float64).cpu()
        memory["before"], memory["moved"] = now, memory.get("moved", torch.zeros(())).cpu() + step
        if count(memory, "steps") + 1 == self.day:
            memory["day"] = memory["moved"].clone()
        return {"forever_days": float(memory["moved"]) / float(memory["day"])} if "day" in memory else {}


def due(replays: int) -> int:
    """The day of the next replay after so many."""
    beyond = replays - len(DAYS) + 1
    return DAYS[replays] if beyond <= 0 else DAYS[-1] * 2**beyond
