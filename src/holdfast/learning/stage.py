"""A stage of learning: what it starts from and what it is given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from holdfast.generate.rollouts import Item
from holdfast.learning.methods import Method, Shard
from holdfast.policy.team import Team
from holdfast.tasks.prompts import Style

if TYPE_CHECKING:
    import torch

    from holdfast.generate.served import ServedGenerator
    from holdfast.learning.objectives import Objective
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference


@dataclass(frozen=True)
class Stage:
    """Everything that determines what a stage learns.

    Attributes:
        policy: the one that learns; it is trained in place.
        items: the training examples, each with its task.
        iterations: how many batches it learns from.
        templates: of prompts, by style.
        stream: names that the stage's random streams begin with.
        load_base: loads the untouched base model.
        hint: template of a question with its answer shown.
        earlier: training examples of earlier tasks by name, in their order; for strategies that rehearse.
        inherited: what each strategy of the stage before left, by its name.
        sampler: another engine that draws roll-outs; None: the policy itself.
        spent: operations of passes that strategies took besides (`flops`), until the loop counts them.
        team: the ranks that learn the stage together.
        shard: what of the training state each rank keeps a part of only.
        objective: what learns; None until the loop has made it.
    """

    policy: Policy
    items: Sequence[Item]
    method: Method
    iterations: int
    templates: Mapping[Style, str]
    stream: tuple[object, ...]
    load_base: Callable[[], Policy]
    hint: str = ""
    earlier: Mapping[str, Sequence[Item]] = field(default_factory=dict)
    inherited: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    sampler: ServedGenerator | None = None
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    team: Team = field(default_factory=Team)
    shard: Shard = "none"
    objective: Objective | None = None
    _past: dict[str, Policy | Reference] = field(default_factory=dict, repr=False)

    def taken(self) -> dict[str, float]:
        """What strategies took since this was last asked."""
        taken = {name: amount for name, amount in self.spent.items() if amount}
        self.spent.clear()
        return taken

    def past(self, which: Literal["stage_start", "base"]) -> Policy | Reference:
        """An earlier policy: the one at the stage's start, or the base; no second model where that can be.

        It must first be asked for before the first step. Asked again, it is the same.
        """
        if which not in self._past:
            self._past[which] = self._base() if which == "base" else self.policy.snapshot()
        return self._past[which]

    def _base(self) -> Policy | Reference:
        if self.policy.adapted:
            return self.policy.without_adapters()
        base = self.load_base()
        base.share(self.method.shards, self.team, self.shard == "full")
        return base
