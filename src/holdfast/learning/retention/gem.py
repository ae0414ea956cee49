"""Gradient episodic memory: a step must not, to first order, undo any earlier task.

GEM (Lopez-Paz & Ranzato, arXiv 1706.08840), eqs. 8 to 11: with g_k the gradient on a batch of earlier
task k, a step's gradient that points against one of them becomes the nearest that points against none,

    g ← g + Σ_k v_k g_k        v = argmin ½ vᵀ P v + pᵀ v,  v ≥ γ,  P_kl = g_k · g_l,  p_k = g · g_k

and g stays where g · g_k ≥ 0 for all k. The problem has a number for each task, and is solved exactly. With γ
0 this is the projection. Above, each old gradient is added at least γ times: γ is the margin in the authors'
code, 0.5 in their experiments; the paper adds it to the v of γ 0.

The paper asks the whole memory of each task in each step. Here, as with `agem`, a step asks `examples` old
ones in all, of all tasks alike, SFT for their references, RFT anew. Since g_k are held at once, of more tasks
than `tasks` a step asks so many, drawn by chance. With one earlier task and γ 0, GEM is A-GEM.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory
from holdfast.learning.retention.agem import EpisodicMemory
from holdfast.learning.retention.passes import objective_gradient
from holdfast.learning.retention.pool import count
from holdfast.learning.retention.vectors import add_to_gradient, flat_gradient
from holdfast.learning.stage import Stage
from holdfast.rng import stream as named_stream


class GEM(EpisodicMemory):
    kind: Literal["gem"] = "gem"
    margin: float = Field(0.5, ge=0)  # γ; 0: the projection alone
    tasks: int = Field(4, ge=1)  # whose gradients are held at once; of more, a step draws so many

    @property
    def copies(self) -> float:  # type: ignore[override]  # it depends on a setting
        """g, what is added, and a gradient of each task."""
        return self.tasks + 2

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Take away what points against an earlier task; the share of the gradient's norm is logged."""
        if not stage.earlier:
            return {}
        names = (*stage.stream, "gem", count(memory, "steps"))  # each step draws other examples
        draw = named_stream(*names)
        chosen = draw.sample(list(stage.earlier), min(self.tasks, len(stage.earlier)))
        size = max(1, self.of_step(stage.method) // len(chosen))
        old = []
        for task in chosen:
            pool = list(stage.earlier[task])[: self.per_task]
            found = objective_gradient(stage, draw.sample(pool, min(size, len(pool))), (*names, task))
            if found is not None and float(found.square().sum()) > 0:
                old.append(found)
        return {"gem_share": project(stage, old, self.margin)}


def project(stage: Stage, old: list[torch.Tensor], margin: float) -> float:
    """Make the step's gradient not point against others [N]; the share of its norm that this changes."""
    gradient = flat_gradient(stage.policy)
    against_K = torch.tensor([float(torch.dot(gradient, one)) for one in old], dtype=torch.float64)
    if not bool((against_K < 0).any() and against_K.isfinite().all()):
        return 0.0
    products_KK = torch.tensor([[float(torch.dot(a, b)) for b in old] for a in old], dtype=torch.float64)
    # v = γ + u, in units in which all g_k are of length 1
    scale_K = products_KK.diagonal().rsqrt()
    slopes_K = against_K + margin * products_KK.sum(1)
    weights_K = margin + scale_K * least(products_KK * scale_K * scale_K[:, None], slopes_K * scale_K)
    away = torch.zeros_like(gradient)
    for weight, one in zip(weights_K.tolist(), old, strict=True):
        away.add_(one, alpha=weight)
    add_to_gradient(stage.policy, away)
    return float(away.norm() / gradient.norm())


def least(products_KK: torch.Tensor, slopes_K: torch.Tensor) -> torch.Tensor:
    """argmin ½ uᵀ P u + pᵀ u with u ≥ 0, for a P without negative eigenvalues and ones on its diagonal.

    By an active set (Lawson & Hanson, Solving Least Squares Problems, 1974, ch. 23): one number after the
    other is let go of 0, and those that would fall below it go back, until no slope leads down.
    """
    found_K, free_K = torch.zeros_like(slopes_K), torch.zeros_like(slopes_K, dtype=torch.bool)
    for _ in range(10 * len(slopes_K)):  # it ends before; with rounding, too
        down_K = (products_KK @ found_K + slopes_K).masked_fill(free_K, 0)
        if float(down_K.min()) > -1e-12 * float(slopes_K.abs().max()):
            break
        free_K[down_K.argmin()] = True
        while True:
            aim_K = torch.zeros_like(found_K)
            inverse = torch.linalg.pinv(products_KK[free_K][:, free_K], hermitian=True)
            aim_K[free_K] = -inverse @ slopes_K[free_K]
            falling_K = free_K & (aim_K <= 0)
            if not bool(falling_K.any()):
                found_K = aim_K
                break
            ways_K = (found_K / (found_K - aim_K).clamp_min(1e-300)).masked_fill(~falling_K, torch.inf)
            first = int(ways_K.argmin())
            found_K = found_K + ways_K[first] * (aim_K - found_K)
            free_K[first] = False
            found_K = found_K.masked_fill(~free_K, 0)
    return found_K
