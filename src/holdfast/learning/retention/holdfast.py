"""A guard on own answers: the policy is held to what it said where it was right, most where it has moved.

Ours. Right answers that the policy gave in the last `keep` iterations of a stage cost nothing. They are kept
with the k largest log-probabilities z of each token, as the stage ends. Each step of later stages draws n:

    gradient ← gradient + c · ∇ mean_tokens KL(z ‖ π(· | x, y))
    P(task t) ∝ moved_t + .02        moved_t ← moved_t + .3 (KL of an answer that was drawn − moved_t)
    θ ← θ + average (θ_start − θ)        at the stage's end

KL is over the k entries and one of all others. Its gradient is 0 where nothing has changed, unlike that of a
likelihood, and with the draws it goes where a task is being lost. A way of learning without grades (SFT) has
references for answers.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.retention import Continuing, Distributions, Memory
from holdfast.learning.retention.answers import (
    answers_of,
    as_groups,
    by_task,
    gradient_of,
    join,
    keep_answers,
    mismatches,
    right_answers,
    select,
    taken,
    with_entries,
)
from holdfast.learning.retention.pool import count, keep_table, not_right, old_rows, table
from holdfast.learning.retention.vectors import add_to_gradient, flat_weights, set_weights
from holdfast.learning.stage import Stage
from holdfast.rng import seed
from holdfast.rng import stream as named_stream

PACE = 0.3  # of the moving averages
LEAST = 0.02  # weight of a task that has not moved


class OwnAnswerGuard(Continuing):
    rehearses = True
    copies = 2  # the gradient of old answers, and the weights of the stage's start

    kind: Literal["holdfast"] = "holdfast"
    answers: int = Field(8, ge=1)  # n, old answers a step
    coef: float = Field(3.0, gt=0)  # c
    keep: int = Field(8, ge=1)  # iterations at a stage's end whose right answers are kept
    entries: int = Field(20, ge=1)  # k
    average: float = Field(0.0, ge=0, lt=1)  # towards the stage's start

    def passes(self, method: Method) -> float:
        """One to train on old answers."""
        return 3 * self.answers * method.updates / (method.batch * method.completions)

    def distributions(self, method: Method) -> Distributions:
        """The logarithms, and two on the way back."""
        return Distributions(3, self.answers, 1)

    def unfit(self, method: Method) -> str | None:
        return not_right(method)

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Take up the answers, and the weights that the end is averaged with."""
        super().begin(stage, memory)
        if self.average and memory:
            memory["start"] = flat_weights(stage.policy)

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Keep a right answer to each new prompt of the last iterations."""
        at = count(memory, "collected")
        if at >= stage.iterations - self.keep:
            old = set(old_rows(stage, groups))
            draw = named_stream(*stage.stream, "holdfast", "right", at)
            new = [row for row in range(len(groups.prompts)) if row not in old]
            chosen = right_answers(groups, new, draw)
            fresh = taken(groups.completions, groups.items, chosen)
            keep_answers(memory, join(answers_of(memory, "fresh"), fresh), "fresh")
        return groups

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add that of old answers; `holdfast_share` is its part, `holdfast_kl` how far they have moved."""
        answers = answers_of(memory)
        rows = by_task(stage, answers)
        if not rows:
            return {}
        moved = table(memory, "moved")  # [KL] of each task, by the hash of its name
        keys = {name: seed("task", name) for name in rows}
        draw = named_stream(*stage.stream, "holdfast", "answers", count(memory, "steps"))
        weights = [moved.get(keys[name], [0.0])[0] + LEAST for name in rows]
        drawn = draw.choices(list(rows), weights, k=self.answers)
        old = select(answers, [draw.choice(rows[name]) for name in drawn])
        kl_M, tokens = torch.zeros(len(drawn)), old["mask"].sum()

        def loss(part: Groups, rows: range) -> torch.Tensor:
            own = select(old, rows)
            kl_T, _ = mismatches(stage, part, own, "kl")
            each = kl_T.detach().cpu().split(own["mask"].sum(1).tolist())
            kl_M[rows.start : rows.stop] = torch.stack([one.mean() for one in each])
            return self.coef * kl_T.sum() / tokens

        term = gradient_of(stage, as_groups(stage, old), loss)
        for name, kl in zip(drawn, kl_M.tolist(), strict=True):
            now = moved.get(keys[name], [0.0])[0]
            moved[keys[name]] = [now + PACE * (kl - now)]
        keep_table(memory, "moved", moved)
        return {"holdfast_share": add_to_gradient(stage.policy, term), "holdfast_kl": float(kl_M.mean())}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """The average of weights; and all answers, the stage's own with what the policy now says of them."""
        if "start" in memory:
            now = flat_weights(stage.policy)
            set_weights(stage.policy, now.lerp(memory["start"], self.average))
        fresh = answers_of(memory, "fresh")
        if fresh:
            fresh = with_entries(stage, fresh, self.entries)
        left: Memory = {}
        keep_answers(left, join(answers_of(memory), fresh))
        return left
