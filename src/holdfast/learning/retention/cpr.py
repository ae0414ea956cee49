"""Continual prompt replay: old prompts that the policy answers sometimes, the most uncertain first.

Continual Reasoning Gym (arXiv 2608.18574). Up to min(⌊ρ b⌋, ⌊b / 2⌋) of the b prompts of an update are
prompts of earlier tasks whose latest pass rate p is in a window, by |p − ½|, and which the last `cooldown`
updates did not use. They are answered anew and learned from like all others, and p is that of these answers.

A prompt that leaves the window is not asked again, so that one which was mastered and then lost is never
seen: so it is in the published code, too. `retest` gives a part of the places to prompts outside the window,
those that were not asked for longest.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from holdfast.generate.rollouts import Item
from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory
from holdfast.learning.retention.places import ByPassRates
from holdfast.learning.retention.pool import count, keep_table, key_of, mixed, old_share, pass_rates, table
from holdfast.learning.stage import Stage
from holdfast.rng import stream as named_stream


class CPR(ByPassRates):
    # `prompts` in memory has each prompt's pass rate and the update that used it last, over all stages.

    kind: Literal["cpr"] = "cpr"
    share: float = Field(0.5, gt=0, le=0.5)  # ρ, the most
    least: float = Field(0.24, ge=0, le=1)  # the window
    most: float = Field(0.70, ge=0, le=1)
    cooldown: int = Field(5, ge=0)  # updates
    retest: float = Field(0.0, ge=0, le=1)  # share of the places that are for prompts outside the window

    @model_validator(mode="after")
    def _window(self) -> CPR:
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) must not be above most ({self.most})")
        return self

    def batch(self, stage: Stage, memory: Memory, items: list[Item], iteration: int) -> list[Item]:
        """The first new prompts, and as many old ones as there are in the window, up to ρ."""
        now, rows = count(memory, "clock"), table(memory, "prompts")
        places = self.places(len(items))
        examples = {key_of(item): item for pool in stage.earlier.values() for item in pool}
        rested = [key for key in rows if key in examples and now - rows[key][1] > self.cooldown]
        named_stream(*stage.stream, "cpr", iteration).shuffle(rested)
        inside = [key for key in rested if self.least <= rows[key][0] <= self.most]
        outside = [key for key in rested if not self.least <= rows[key][0] <= self.most]
        tests = sorted(outside, key=lambda key: rows[key][1])[: int(self.retest * places)]
        likely = sorted(inside, key=lambda key: abs(rows[key][0] - 0.5))[: places - len(tests)]
        old = [examples[key] for key in likely + tests]
        return mixed(items[: len(items) - len(old)], old)

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Note the pass rates, of new prompts as well; `cpr_share` is the part of the batch that is old."""
        rows, now = table(memory, "prompts"), int(memory["clock"]) - 1
        for item, rate in zip(groups.items, pass_rates(groups), strict=True):
            rows[key_of(item)] = [rate, now]
        keep_table(memory, "prompts", rows)
        return groups.logged({f"{self.name}_share": old_share(stage, groups)})
