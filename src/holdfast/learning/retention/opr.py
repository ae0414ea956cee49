"""Replay of the policy's own right answers to earlier tasks, written anew at the end of each stage.

On-policy replay (arXiv 2605.29495): after each stage the policy as it then is answers training prompts of all
tasks so far, at a low temperature; right answers are the data of these tasks in the next stage. Each task has
an equal part of the buffer, which counts the prompts that are answered (the published code counts the answers
that are kept, and answers everything).

In the next stage b · M / N old answers come to a batch of b, M of them being kept for N new examples; where
that is no whole number, a step has one more or one fewer, so that an epoch has M. Every token of theirs
counts like a token of the batch:

    gradient ← gradient − Σ_old ∇ log π(y | x) / (tokens of the step)
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import roll_out
from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.retention import Continuing, Memory
from holdfast.learning.retention.answers import (
    answers_of,
    as_groups,
    gradient_of,
    join,
    keep_answers,
    right_answers,
    select,
    taken,
)
from holdfast.learning.retention.pool import count
from holdfast.learning.retention.vectors import add_to_gradient
from holdfast.learning.stage import Stage
from holdfast.policy.settings import Sampling
from holdfast.rng import stream as named_stream

ANSWERED_AT_ONCE = 64


class OwnAnswerReplay(Continuing):
    rehearses = True
    copies = 1  # the gradient of old answers

    kind: Literal["opr"] = "opr"
    buffer: int = Field(500, ge=1)  # prompts that are answered at the end of a stage
    temperature: float = Field(0.1, ge=0)
    max_tokens: int = Field(64, ge=1)  # of an answer

    def results_version(self, method: Method) -> int:
        """A step had a whole number of answers, at least one, however few were kept."""
        return 2

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add the likelihood of as many answers as are due; `opr_share` is their part of the gradient."""
        answers = answers_of(memory)
        if not answers:
            return {}
        most, step = len(answers["keys"]), count(memory, "steps")
        each = len(groups.prompts) * most  # N times as many as are due in a step
        due = min(most, (step + 1) * each // len(stage.items) - step * each // len(stage.items))
        if not due:
            return {"opr_share": 0.0}
        draw = named_stream(*stage.stream, "opr", step)
        old = as_groups(stage, select(answers, draw.sample(range(most), due)))
        tokens = groups.completions.mask_BGR.sum()

        def loss(part: Groups, _: range) -> torch.Tensor:
            said_BGR = stage.policy.group_logprobs(part.prompts, part.completions).logprobs_BGR
            return -(said_BGR * part.completions.mask_BGR).sum() / tokens

        term = gradient_of(stage, old, loss)
        return {"opr_share": add_to_gradient(stage.policy, term)}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """Answer prompts of all tasks, and keep what is right and whole."""
        names = (*stage.stream, "opr", "end")
        pools = [*stage.earlier.values(), stage.items]
        sampling = Sampling(temperature=self.temperature, max_tokens=self.max_tokens)
        asking = Asking(stage.method.style, stage.templates, sampling, names)
        parts = []
        for number, pool in enumerate(pools):
            most = min(len(pool), max(1, self.buffer // len(pools)))
            chosen = named_stream(*names, number).sample(list(pool), most)
            for start in range(0, most, ANSWERED_AT_ONCE):
                rollouts = roll_out(
                    stage.policy,
                    some := chosen[start : start + ANSWERED_AT_ONCE],
                    asking.at(number, start),
                    group_size=1,
                )
                stage.spent["flops"] += stage.policy.operations.forward(
                    rollouts.prompts, rollouts.completions
                )
                right = right_answers(rollouts, range(len(some)))
                parts.append(taken(rollouts.completions, some, right))
        left: Memory = {}
        keep_answers(left, join(*parts))
        return left
