"""Spaced review of what was mastered: each mastered prompt comes back before it is likely to be lost.

REMIND (arXiv 2606.03087) keeps the set of mastered prompts and asks those that are due again, early and
often, as the cost of repairing one grows with the delay. Its schedule is not public; this is our reading:

    mastered:     pass rate at least 7/8, twice running
    next review:  after Δ updates; Δ = 4 at first, doubled by a success up to 64, 4 again after a failure
    of a batch:   at most a quarter, those first that are due for longest

Prompts of the stage's own task count as well. A prompt that fails stays under review until it is mastered
again.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.generate.rollouts import Item
from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory
from holdfast.learning.retention.places import ByPassRates
from holdfast.learning.retention.pool import count, keep_table, key_of, known, mixed, pass_rates, table
from holdfast.learning.stage import Stage

MASTERED, TWICE = 7 / 8, 2


class Remind(ByPassRates):
    # `prompts` in memory has of each: successes running, Δ, when it is due. Δ = 0: not under review.

    kind: Literal["remind"] = "remind"
    share: float = Field(0.25, gt=0, lt=1)  # of a batch, the most
    first: int = Field(4, ge=1)  # Δ, in updates
    longest: int = Field(64, ge=1)

    def batch(self, stage: Stage, memory: Memory, items: list[Item], iteration: int) -> list[Item]:
        """The first new prompts, and the reviews that are due."""
        now, rows, examples = count(memory, "clock"), table(memory, "prompts"), known(stage)
        due = sorted((row[2], key) for key, row in rows.items() if row[1] and row[2] <= now)
        chosen = [key for _, key in due if key in examples][: self.places(len(items))]
        memory["reviewed"] = torch.tensor(len(chosen) / len(items))
        return mixed(items[: len(items) - len(chosen)], [examples[key] for key in chosen])

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Set the next reviews; `remind_share` is the part of the batch that was one."""
        rows, now = table(memory, "prompts"), int(memory["clock"]) - 1
        for item, rate in zip(groups.items, pass_rates(groups), strict=True):
            key = key_of(item)
            rows[key] = self.after(rows.get(key, [0.0, 0.0, 0.0]), rate, now)
        keep_table(memory, "prompts", rows)
        return groups.logged({f"{self.name}_share": float(memory["reviewed"])})

    def after(self, row: list[float], rate: float, now: int) -> list[float]:
        """What is noted of a prompt after it was answered."""
        running, delay, _ = row
        running = running + 1 if rate >= MASTERED else 0
        if running == 0:
            delay = min(delay, self.first)  # stays 0 where it was never mastered
        elif delay:
            delay = min(2 * delay, self.longest)
        elif running >= TWICE:
            delay = self.first
        return [running, delay, now + delay]
