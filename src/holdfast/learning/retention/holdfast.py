"""Watched own-answer replay: replay goes where a task has fallen below its own peak.

Ours. Old tasks are watched by their pass rates, which replay itself shows, and prompts are asked again as
often as their task has lost. The policy's own right answers to them, kept from the last updates of their
stage for free, are learned again beside the batch. Prompts are added to the batch and take nobody's place,
and the weights may be averaged with those of the stage's start at its end.

    level_t ← level_t + .3 (pass rate − level_t)        for each of its prompts; peak_t: the highest so far
    P(task t) ∝ max(peak_t − level_t, 0) + .05
    gradient ← gradient − c · ∇ mean_tokens log π(n answers of these tasks)
    θ ← θ + average (θ_start − θ)        at the stage's end

At first level and peak are the pass rate in the last `keep` updates of the stage. A way of learning without
grades (SFT) has references for answers and, for a pass rate, the mean probability of a token of theirs;
nothing joins its batch but these answers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from holdfast.generate.rollouts import Item
from holdfast.learning.methods import RFT, Method
from holdfast.learning.retention import Strategy
from holdfast.learning.retention.answers import (
    answers_of,
    as_groups,
    by_task,
    gradient_of,
    join,
    keep_answers,
    select,
    taken,
)
from holdfast.learning.retention.pool import count, mixed, not_right, old_rows, pass_rates
from holdfast.learning.retention.terms import add_to_gradient, flat_weights, set_weights
from holdfast.learning.retention.watch import Watch, level_of, likelihoods, right_answers
from holdfast.learning.stage import Stage
from holdfast.rng import stream as named_stream

if TYPE_CHECKING:
    from holdfast.learning.objectives import Groups


class WatchedReplay(Strategy):
    rehearses = True
    copies = 2  # the gradient of old answers, and the weights of the stage's start

    kind: Literal["holdfast"] = "holdfast"
    share: float = Field(0.25, ge=0, lt=1)  # old prompts, of a batch (RFT)
    adds: bool = True  # to the batch; false: they take the places of new ones, at equal cost
    answers: int = Field(8, ge=0)  # n, old answers a step
    coef: float = Field(2.0, gt=0)  # c
    keep: int = Field(8, ge=1)  # updates at a stage's end whose right answers are kept
    average: float = Field(0.0, ge=0, lt=1)  # towards the stage's start

    def unfit(self, method: Method) -> str | None:
        return not_right(method)

    def begin(self, stage: Stage, memory: dict[str, torch.Tensor]) -> None:
        """Take up the answers, and what is known of each task."""
        memory |= stage.inherited.get(self.name, {})
        if self.average and memory:
            memory["start"] = flat_weights(stage.policy)

    def batch(
        self, stage: Stage, memory: dict[str, torch.Tensor], items: list[Item], iteration: int
    ) -> list[Item]:
        """The new prompts, and old ones of the tasks that have lost most."""
        memory["iteration"] = torch.tensor(iteration)
        watch, updates = Watch(memory), stage.method.updates
        tasks = [name for name in stage.earlier if name in watch]
        if not tasks or not self.share or not isinstance(stage.method, RFT):
            return items
        places = max(1, round(self.share * len(items)))
        places = -(-places // updates) * updates if self.adds else places  # each update has as many
        draw = named_stream(*stage.stream, "holdfast", iteration)
        drawn = draw.choices(tasks, [watch.weight(name) for name in tasks], k=places)
        old = [draw.choice(stage.earlier[name]) for name in drawn]
        return mixed(items if self.adds else items[: len(items) - places], old)

    def collected(self, stage: Stage, memory: dict[str, torch.Tensor], groups: Groups) -> Groups:
        """See how old tasks are doing, and keep right answers near the stage's end."""
        old = set(old_rows(stage, groups.items))
        new = [row for row in range(len(groups.prompts)) if row not in old]
        is_late = int(memory["iteration"]) >= stage.iterations - self.keep
        if groups.scores_BG is not None:
            watch, rates = Watch(memory), pass_rates(groups)
            for row in sorted(old):
                watch.see(groups.items[row][0].name, rates[row])
            watch.keep(memory)
            if is_late and new:
                seen = torch.tensor([sum(rates[row] for row in new), float(len(new))])
                memory["late"] = memory["late"].cpu() + seen if "late" in memory else seen
        if is_late:
            draw = named_stream(*stage.stream, "holdfast", "right", int(memory["iteration"]))
            fresh = taken(groups.completions, groups.items, right_answers(groups, new, draw))
            keep_answers(memory, join(answers_of(memory, "fresh"), fresh), "fresh")
        replayed = len(old) / max(1, len(groups.items))
        return replace(groups, stats={**groups.stats, "holdfast_replayed": replayed})

    def gradient(self, stage: Stage, memory: dict[str, torch.Tensor], groups: Groups) -> dict[str, float]:
        """Add that of old answers; `holdfast_share` is its part of the whole."""
        answers, watch = answers_of(memory), Watch(memory)
        rows = {name: rows for name, rows in by_task(stage, answers).items() if name in watch}
        if not rows or not self.answers:
            return {}
        draw = named_stream(*stage.stream, "holdfast", "answers", count(memory, "steps"))
        drawn = draw.choices(list(rows), [watch.weight(name) for name in rows], k=self.answers)
        old = as_groups(stage, select(answers, [draw.choice(rows[name]) for name in drawn]))
        tokens, likely_B = old.completions.mask_BGR.sum(), torch.zeros(len(drawn))

        def loss(part: Groups, rows: range) -> torch.Tensor:
            logprobs_BGR = stage.policy.group_logprobs(part.prompts, part.completions).logprobs_BGR
            likely_B[rows.start : rows.stop] = likelihoods(logprobs_BGR.detach(), part).cpu()
            return -self.coef * logprobs_BGR.sum() / tokens

        term = gradient_of(stage, old, loss)
        if groups.scores_BG is None:
            for name, likely in zip(drawn, likely_B.tolist(), strict=True):
                watch.see(name, likely)
            watch.keep(memory)
        return {"holdfast_share": add_to_gradient(stage.policy, term)}

    def end(self, stage: Stage, memory: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What is known of each task now, all answers; and the average of weights."""
        watch, fresh = Watch(memory), answers_of(memory, "fresh")
        level = float(memory["late"][0] / memory["late"][1]) if "late" in memory else level_of(stage, fresh)
        if level is not None:
            watch.begin(stage.items[0][0].name, level)
        if "start" in memory:
            now = flat_weights(stage.policy)
            set_weights(stage.policy, now.lerp(memory["start"], self.average))
        left: dict[str, torch.Tensor] = {}
        watch.keep(left)
        keep_answers(left, join(answers_of(memory), fresh))
        return left
