"""Momentum-filtered optimiser: of each tensor a step moves only the weights with the largest momentum.

MoFO (Chen et al., arXiv 2407.20999): AdamW's moments take the whole gradient; of its step, in each block,
those α % of the entries are made that have the largest |m|. A block is a tensor. The decay of the weights is
part of the step. Everything else has after the step the value it had after the last one, so list it after
other strategies that change weights (`osft`, say). `control: random` makes as many entries of the step, drawn
by chance each time.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.bfloat16 import put, whole
from holdfast.learning.methods import Method
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import (
    exact_weights,
    flat_weights,
    random_mask,
    share_of,
    top_mask,
    views,
)
from holdfast.learning.stage import Stage
from holdfast.rng import torch_stream


class MoFO(Strategy):
    copies = 2  # the weights before a step, and after it

    kind: Literal["mofo"] = "mofo"
    share: float = Field(0.1, gt=0, lt=1)  # α of each tensor, that moves in a step
    control: Literal["random"] | None = None

    def unfit(self, method: Method) -> str | None:
        """Muon's momentum stands for directions, not for entries."""
        return (
            "filters by AdamW's momentum; leave optimizer: muon out" if method.optimizer == "muon" else None
        )

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Note the weights before the first step."""
        memory["before"] = flat_weights(stage.policy)

    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Take back the step where momentum is small; the share of its norm is logged."""
        total = taken = torch.zeros((), device=stage.policy.device)
        for number, (parameter, before) in enumerate(views(stage.policy, memory["before"])):
            state = optimizer.state.get(parameter)
            if not state:
                continue
            after = whole(parameter, state)
            moves = top_mask(state["exp_avg"].float().abs(), self.share)
            if self.control:
                names = (*stage.stream, "mofo", int(state["step"]), number)
                moves = random_mask(moves, torch_stream(*names, device=str(parameter.device)))
            squares = (after - before).square()
            total, taken = total + squares.sum(), taken + (squares * ~moves).sum()
            put(parameter, state, torch.where(moves, after, before))
        memory["before"] = exact_weights(stage.policy, optimizer)
        return {"mofo_share": share_of(taken, total)}
