"""Experience replay: a share of every batch are training examples of earlier tasks.

Chaudhry et al. (arXiv 1902.10486), with the earlier tasks' data at hand in place of a reservoir: all of it,
also what a filter left out of their stages. SFT imitates the old references again; RFT answers the old
prompts anew. Where a batch has several updates, each of them has its share.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.generate.rollouts import Item
from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.retention import Memory
from holdfast.learning.retention.places import TakesPlaces
from holdfast.learning.retention.pool import mixed, old_share, spread
from holdfast.learning.stage import Stage
from holdfast.rng import stream as named_stream


class ExperienceReplay(TakesPlaces):
    kind: Literal["er"] = "er"
    share: float = Field(0.1, gt=0, lt=1)  # of a batch, rounded; at least one example
    per_task: int | None = Field(None, ge=1)  # examples of each earlier task that are kept; None: all
    padding_control: bool = False  # repeats new examples in the places of old ones: what replay itself adds

    def results_version(self, method: Method) -> int:
        """All old examples went into the last updates of a batch."""
        return 2 if method.updates > 1 else 1

    def batch(self, stage: Stage, memory: Memory, items: list[Item], iteration: int) -> list[Item]:
        """The first new examples, and old ones: of all tasks alike, each once where there are enough."""
        if not stage.earlier:
            return items
        old = self.places(len(items))
        new, draw = items[: len(items) - old], named_stream(*stage.stream, "replay", iteration)
        if self.padding_control:
            others = [draw.choice(new or items) for _ in range(old)]
        else:
            pools = [pool[: self.per_task] for pool in stage.earlier.values()]
            others = spread(pools, old, draw)
        # A single update has the same whatever the order.
        return mixed(new, others) if stage.method.updates > 1 else new + others

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """`er_share` is the part of the batch that is old."""
        if not stage.earlier or self.padding_control:
            return groups
        return groups.logged({f"{self.name}_share": old_share(stage, groups)})
