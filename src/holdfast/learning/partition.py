"""The optimiser's state in parts: each rank of a team keeps, and steps, some of the parameters (ZeRO-1).

Sharing out whole parameters changes no bit of a step: AdamW and Muon see one parameter at a time. After a
step each rank has the parameters that the others stepped from them. (Stage 1 of Rajbhandari et al., arXiv
1910.02054.)
"""

from __future__ import annotations

from typing import Any

import torch

from holdfast.policy.team import Team


class Partition:
    """Who steps which parameter.

    Args:
        shared: whether the ranks of the team share it out; else each steps all.

    Attributes:
        own: places of the parameters that this rank steps, in the order of the optimiser's groups.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, team: Team | None = None, shared: bool = False
    ) -> None:
        self.team = team or Team()
        self.shared = shared and self.team.size > 1
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.own = frozenset(range(len(self.parameters)))
        if not self.shared:
            return
        self._of_rank: list[list[int]] = [[] for _ in range(self.team.size)]
        load = [0] * self.team.size
        for place in sorted(range(len(self.parameters)), key=lambda place: -self.parameters[place].numel()):
            rank = load.index(min(load))
            self._of_rank[rank].append(place)
            load[rank] += self.parameters[place].numel()
        self.own = frozenset(self._of_rank[self.team.rank])
        optimizer.register_step_pre_hook(self._forget_others)
        optimizer.register_step_post_hook(self._take_others)

    def _forget_others(self, *_: Any) -> None:
        for place, parameter in enumerate(self.parameters):
            if place not in self.own:
                parameter.grad = None

    def _take_others(self, *_: Any) -> None:
        for rank, places in enumerate(self._of_rank):
            self.team.from_rank(rank, [self.parameters[place].data for place in places])
