"""L2 to earlier weights: every trained weight is pulled back alike, whatever it was for.

gradient ← gradient + λ (θ − θ*), with θ* the weights the stage began with, or the base's: the quadratic
penalty of EWC (Kirkpatrick et al., arXiv 1612.00796, sec. 2.1) with all importances 1, its usual control.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.vectors import add_to_gradient, flat_weights, inherited
from holdfast.learning.stage import Stage


class L2(Strategy):
    copies = 2  # θ*, the pull

    kind: Literal["l2"] = "l2"
    strength: float = Field(gt=0)  # λ
    to: Literal["stage_start", "base"] = "stage_start"

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up θ*; in the first stage they are the base's."""
        base = inherited(stage, self.name, "base").get("base")
        memory["anchor"] = flat_weights(stage.policy) if base is None else base

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add λ (θ − θ*)."""
        pull = flat_weights(stage.policy).sub_(memory["anchor"]).mul_(self.strength)
        return {"l2_share": add_to_gradient(stage.policy, pull)}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """The base's weights, where they are what it pulls to."""
        return {"base": memory["anchor"]} if self.to == "base" else {}
