"""Dark experience replay: examples of before, with what the policy said of them when they came.

Buzzega et al. (arXiv 2004.07211), eqs. 5 and 6. A reservoir of all examples that were learned from keeps (x,
y) and, of each token of y, the k largest log-probabilities z of that moment, in place of all V logits:

    gradient ← gradient + ∇ (α · match(log π(· | x, y), z) − β · log π(y | x))    DER: β = 0; DER++: β > 0

token means over one draw from the buffer, where the paper has one for each term; from the second stage on,
where the paper replays from the second step. `mse` is the mean square over the k entries, as the authors'
over logits; `kl` is KL(z ‖ π) over the k entries and one of all others. Under SFT y is the target; under
RFT the first right answer of a group, so that what is never right is not kept.
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
    gradient_of,
    join,
    keep_answers,
    mismatches,
    right_answers,
    select,
    taken,
    with_entries,
)
from holdfast.learning.retention.pool import count, not_right
from holdfast.learning.retention.vectors import add_to_gradient
from holdfast.learning.stage import Stage
from holdfast.rng import stream as named_stream


class DarkReplay(Continuing):
    rehearses = True
    copies = 1  # the gradient of what is replayed

    kind: Literal["der"] = "der"
    alpha: float = Field(0.5, ge=0)  # of the match
    beta: float = Field(0.5, ge=0)  # of the likelihood; 0: DER, above: DER++
    match: Literal["mse", "kl"] = "mse"
    entries: int = Field(20, ge=1)  # k
    buffer: int = Field(200, ge=1)  # examples, of all stages together
    replayed: int = Field(8, ge=1)  # examples a step

    def passes(self, method: Method) -> float:
        """One to train on what is replayed; what enters a reservoir that is full is little."""
        return 3 * self.replayed * method.updates / (method.batch * method.completions)

    def distributions(self, method: Method) -> Distributions:
        """The logarithms, and two on the way back."""
        return Distributions(3, self.replayed, 1)

    def unfit(self, method: Method) -> str | None:
        return not_right(method)

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Let each example of the batch into the buffer with the same chance as all before it."""
        answers = answers_of(memory)
        keys: list[int] = answers["keys"].tolist() if answers else []
        new: dict[int, tuple[int, int]] = {}  # place in the buffer: (row, member)
        for row, member in right_answers(groups, range(len(groups.prompts))):
            seen = count(memory, "seen")
            draw = named_stream(*stage.stream, "der", seen)
            place = seen if seen < self.buffer else draw.randrange(seen + 1)
            if place < self.buffer:
                new[place] = row, member
        if not new:
            return groups
        fresh = with_entries(stage, taken(groups.completions, groups.items, list(new.values())), self.entries)
        kept = [place for place in range(len(keys)) if place not in new]
        everything = join(select(answers, kept), fresh)
        order = sorted(range(len(kept) + len(new)), key=[*kept, *new].__getitem__)
        keep_answers(memory, select(everything, order))
        return groups

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add the replay's, from the second stage on; `der_share` is its part of the gradient."""
        answers = answers_of(memory)
        if self.name not in stage.inherited or not answers:
            return {}
        draw = named_stream(*stage.stream, "der", "draw", count(memory, "steps"))
        size = len(answers["keys"])
        some = select(answers, draw.sample(range(size), min(size, self.replayed)))
        tokens = some["mask"].sum()

        def loss(part: Groups, rows: range) -> torch.Tensor:
            matched_T, now_TV = mismatches(stage, part, select(some, rows), self.match)
            targets_T = part.completions.tokens_BGR[part.completions.mask_BGR]
            likelihood = now_TV.gather(1, targets_T[:, None]).sum()
            return (self.alpha * matched_T.sum() - self.beta * likelihood) / tokens

        return {"der_share": add_to_gradient(stage.policy, gradient_of(stage, as_groups(stage, some), loss))}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        return {name: tensor for name, tensor in memory.items() if name != "steps"}
