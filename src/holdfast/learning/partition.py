"""The optimiser's state in parts: each rank of a team keeps, and steps, some of the parameters.

Sharing out whole parameters changes no bit of a step: AdamW and Muon see one parameter at a time. After a
step each rank has the parameters that the others stepped from them, unless weights are in parts, too
(`policy/sharding.py`). (Stage 1 of Rajbhandari et al., arXiv 1910.02054.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from holdfast.learning.methods import Shard
from holdfast.policy.blocks import owners
from holdfast.policy.team import Team


class Partition:
    """Who steps which parameter.

    Args:
        shard: what ranks of the team share out; else each steps all.
        holds: whether this rank has the numbers of a parameter.

    Attributes:
        own: places of the parameters that this rank steps, in the order of the optimiser's groups.
        shared: whether others step others.
        in_parts: whether it has no others' weights.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        team: Team | None = None,
        shard: Shard = "none",
        holds: Callable[[torch.nn.Parameter], bool] = lambda _: True,
    ) -> None:
        self.team, self.holds = team or Team(), holds
        self.shared = shard != "none" and self.team.size > 1
        self.in_parts = shard == "full" and self.shared
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.own = frozenset(place for place, one in enumerate(self.parameters) if holds(one))
        if not self.shared or self.in_parts:
            return
        owner = owners(self.parameters, self.team.size)
        self._of_rank: list[list[int]] = [[] for _ in range(self.team.size)]
        for place, parameter in enumerate(self.parameters):
            self._of_rank[owner[parameter]].append(place)
        self.own = frozenset(self._of_rank[self.team.rank])
        optimizer.register_step_pre_hook(self._forget_others)
        optimizer.register_step_post_hook(self._take_others)

    def _forget_others(self, *_: Any) -> None:
        for place, parameter in enumerate(self.parameters):
            if place not in self.own:
                parameter.grad = None

    def _take_others(self, *_: Any) -> None:
        for rank, places in enumerate(self._of_rank):
            self.team.broadcast(rank, [self.parameters[place].data for place in places])
