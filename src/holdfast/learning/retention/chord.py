"""CHORD: one loss that begins with imitating references and turns to reinforcement.

Zhang et al. (arXiv 2508.11408), with p_t = π(y*_t | x, y*_<t) of a reference y*:

    L = (1 − μ) L_RFT + μ · mean_t φ_t · (−log p_t)        φ_t = sg[p_t (1 − p_t)], or 1

φ leaves alone what the policy knows and what is far from it, so that imitation does not overwrite its ways.
μ falls by a cosine from `mu` to `mu_end` over a part of the stage's steps, and stays. The paper's CHORD-µ has
φ 1 and μ from 0.9 to 0.05, CHORD-φ a small constant μ; the defaults are those of the released example. There
references are of other prompts than the roll-outs, written by an expert; here they are those of the step's
own new prompts.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.likelihood import with_references
from holdfast.learning.methods import RFT, Method
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.answers import gradient_of
from holdfast.learning.retention.pool import count, old_rows
from holdfast.learning.retention.vectors import add_to_gradient
from holdfast.learning.stage import Stage
from holdfast.policy.gradients import trained_parameters
from holdfast.tasks.prompts import Target


class CHORD(Strategy):
    copies = 1  # the gradient of imitation

    kind: Literal["chord"] = "chord"
    mu: float = Field(0.5, gt=0, le=1)  # μ as the stage begins
    mu_end: float = Field(0.02, ge=0, le=1)
    decay: float = Field(1.0, ge=0, le=1)  # share of the stage's steps in which it falls
    phi: bool = True
    target: Literal["answer", "reasoned"] = "answer"  # what is imitated

    def passes(self, method: Method) -> float:
        """One to train on a reference of each prompt, where a prompt is as long as an answer."""
        return 3 * 2 / (1 + method.completions)

    def unfit(self, method: Method) -> str | None:
        if not isinstance(method, RFT):
            return "mixes reinforcement with imitation; use it with RFT"
        if method.style == "direct" and self.target == "reasoned":
            return "target: reasoned needs style: cot"
        return None

    def imitates(self, method: Method) -> Target | None:
        return self.target

    def results_version(self, method: Method) -> int:
        """μ fell by the steps that were made, which are fewer where prompts leave."""
        return 2 if getattr(method, "drop_zero_variance", False) else 1

    def weight(self, step: int, steps: int) -> float:
        """μ of a step of a stage."""
        falls = self.decay * steps
        along = min(1.0, step / falls) if falls else 1.0
        return self.mu_end + (self.mu - self.mu_end) * 0.5 * (1 + math.cos(math.pi * along))

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Count the stage's steps as its schedule does, those that are not made as well."""
        memory["steps"] = torch.tensor(count(memory, "iterations") * stage.method.updates)
        return groups

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Mix in that of imitation; `chord_share` is its part of the whole, `chord_mu` its weight."""
        policy, old = stage.policy, set(old_rows(stage, groups))
        mu = self.weight(count(memory, "steps"), stage.iterations * stage.method.updates)
        new = [item for row, item in enumerate(groups.items) if row not in old]
        if not new or not mu:
            return {"chord_share": 0.0, "chord_mu": mu}
        shown = with_references(policy, new, stage.templates, stage.method.style, self.target)
        tokens = shown.completions.mask_BGR.sum()

        def loss(part: Groups, rows: range) -> torch.Tensor:
            said_BGR = policy.group_logprobs(part.prompts, part.completions).logprobs_BGR  # 0 on padding
            p_BGR = said_BGR.detach().exp()
            weight_BGR = p_BGR * (1 - p_BGR) if self.phi else 1.0
            return -mu * (weight_BGR * said_BGR).sum() / tokens

        term = gradient_of(stage, shown, loss)
        with torch.no_grad():
            for parameter in trained_parameters(policy):
                if parameter.grad is not None:
                    parameter.grad *= 1 - mu
        return {"chord_share": add_to_gradient(policy, term), "chord_mu": mu}
