"""On-policy distillation of what was known: on old prompts the policy of the stage's start judges each token.

Prompts of earlier tasks are answered by the policy that learns, and have in place of a reward

    A_t = −c (log π(y_t) − log π_prev(y_t))        for each token, no discount

whose policy gradient is that of KL(π ‖ π_prev) over single tokens (Agarwal et al., arXiv 2306.13649; the
earlier checkpoint as the teacher, to repair what is lost: Lu, "On-Policy Distillation", 2025). Where `kl_old`
is a penalty, this is a reward of full size: its c is 1 as usual.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from holdfast.learning.groups import Groups
from holdfast.learning.methods import Method
from holdfast.learning.retention import Memory
from holdfast.learning.retention.kl_old import AskedAgain
from holdfast.learning.retention.passes import own_logprobs
from holdfast.learning.retention.pool import old_rows, old_share
from holdfast.learning.stage import Stage


class OnPolicyDistillation(AskedAgain):
    kind: Literal["opd"] = "opd"
    coef: float = Field(1.0, gt=0)  # c

    def results_version(self, method: Method) -> int:
        """Another engine's log-probabilities stood for the policy's own."""
        return 2 if getattr(method, "sampler", None) else 1

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """Give tokens of old prompts the teacher's advantage, and no other."""
        rows = old_rows(stage, groups)
        if not rows:
            return groups
        teacher_BGR = self.logprobs(stage, groups, rows)
        advantages_BG = groups.advantages_BG.clone()
        advantages_BG[rows] = 0
        judged_BGR = self.coef * (teacher_BGR - own_logprobs(stage, groups))  # 0 where there is no teacher
        found = replace(groups, advantages_BG=advantages_BG, advantages_BGR=judged_BGR)
        return found.logged({f"{self.name}_share": old_share(stage, groups)})
