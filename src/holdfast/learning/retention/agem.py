"""Averaged gradient episodic memory: a step must not, to first order, undo earlier tasks.

A-GEM (Chaudhry et al., arXiv 1812.00420): with g_ref the gradient on a batch drawn from earlier tasks,

    g ← g − (g · g_ref / ‖g_ref‖²) g_ref        where g · g_ref < 0, and g as it is elsewhere

SFT takes g_ref of the old references; RFT answers the old prompts anew and grades them, and a divergence from
a reference is no part of g_ref. The earlier tasks' data are at hand in place of a reservoir.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method, SampledSFT
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.passes import gradient_version, objective_gradient
from holdfast.learning.retention.pool import count
from holdfast.learning.retention.vectors import add_to_gradient, flat_gradient
from holdfast.learning.stage import Stage
from holdfast.rng import stream as named_stream


class EpisodicMemory(Strategy):
    """Gradients on old examples bound a step: what A-GEM and GEM share."""

    rehearses = True

    examples: int | None = Field(None, ge=1)  # old ones of a step; None: as many as it has new ones
    per_task: int | None = Field(None, ge=1)  # examples of each earlier task that are kept; None: all

    def results_version(self, method: Method) -> int:
        return gradient_version(method)

    def passes(self, method: Method) -> float:
        """One to train on old examples, in each step; under RFT their answers, too."""
        share = 1.0 if self.examples is None else self.examples * method.updates / method.batch
        return share * (3 + (method.sampled is not None))

    def unfit(self, method: Method) -> str | None:
        """The old examples of sampled targets have no targets."""
        return (
            "needs references or RFT; leave target: sampled out" if isinstance(method, SampledSFT) else None
        )

    def of_step(self, method: Method) -> int:
        """How many old examples a step asks."""
        return self.examples or method.batch // method.updates


class AveragedGEM(EpisodicMemory):
    copies = 3  # g, g_ref, what is added

    kind: Literal["agem"] = "agem"

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Take away what points against g_ref; the share of the gradient's norm is logged."""
        if not stage.earlier:
            return {}
        names = (*stage.stream, "agem", count(memory, "steps"))  # each step draws other examples
        pool = [item for items in stage.earlier.values() for item in items[: self.per_task]]
        items = named_stream(*names).sample(pool, min(self.of_step(stage.method), len(pool)))
        reference = objective_gradient(stage, items, names)
        return {"agem_share": 0.0 if reference is None else project(stage, reference)}


def project(stage: Stage, reference_N: torch.Tensor) -> float:
    """Make the step's gradient not point against another; the share of its norm that this takes away."""
    gradient = flat_gradient(stage.policy)
    against = torch.dot(gradient, reference_N)
    if not float(against) < 0:
        return 0.0
    away = -against / reference_N.square().sum() * reference_N
    add_to_gradient(stage.policy, away)
    return float(away.norm() / gradient.norm())
