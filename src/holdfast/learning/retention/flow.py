"""FLOW: an example counts the more, the easier it is for the policy that the stage starts from.

Sanyal et al. (arXiv 2502.02797, and their code for language): with f_i the mean of −log p over the tokens of
example i's target under that policy,

    w_i = exp(−f_i / τ)        τ = the median of f over the stage's examples

and a step minimises Σ_i w_i Σ_t −log p_it over N, where N is the number of its tokens, however little they
count. Examples of earlier tasks that another strategy puts into a batch count wholly (our reading).
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median
from typing import Literal

import torch
from pydantic import Field

from holdfast.learning.groups import Groups, naming
from holdfast.learning.likelihood import with_references
from holdfast.learning.methods import SFT, Method
from holdfast.learning.retention import Memory, Strategy
from holdfast.learning.retention.pool import keep_table, key_of, table
from holdfast.learning.stage import Stage

_LEAST = 1e-6  # nats; of examples that are all certain, τ would be 0


class FLOW(Strategy):
    kind: Literal["flow"] = "flow"
    temperature: float | None = Field(None, gt=0)  # τ in nats; None: the median

    def unfit(self, method: Method) -> str | None:
        if not isinstance(method, SFT):
            return "weighs references; use it with objective: sft and target: answer or reasoned"
        return None

    @torch.no_grad()
    def begin(self, stage: Stage, memory: Memory) -> None:
        """Weigh all examples of the stage, by one pass over them."""
        policy, method, losses = stage.policy, stage.method, dict[int, float]()
        assert isinstance(method, SFT), "`unfit` refuses others"
        for start in range(0, len(stage.items), method.batch):
            items = stage.items[start : start + method.batch]
            groups = with_references(policy, items, stage.templates, method.style, method.target)
            with naming(items):
                said_BGR = policy.group_logprobs(groups.prompts, groups.completions).logprobs_BGR
            mask_BGR = groups.completions.mask_BGR
            mean_B = -(said_BGR * mask_BGR).sum((1, 2)) / mask_BGR.sum((1, 2))
            losses |= zip(map(key_of, items), mean_B.tolist(), strict=True)
            stage.spent["flops"] += policy.operations.forward(groups.prompts, groups.completions)
        scale = self.temperature or max(_LEAST, median(losses.values()))
        keep_table(memory, "weights", {key: [math.exp(-loss / scale)] for key, loss in losses.items()})

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Let each example count by its weight; `flow_share` is what of a batch's tokens does not count."""
        weights = table(memory, "weights")
        weight_BG = torch.tensor([weights.get(key_of(item), [1.0]) for item in groups.items])
        tokens_BG = groups.completions.lengths_BG.cpu()
        lost = 1 - float((weight_BG * tokens_BG).sum() / tokens_BG.sum())
        return replace(groups, token_weights_BG=weight_BG).logged({"flow_share": lost})
