"""Methods: ways of learning, each a class with the settings that change it.

`objective` chooses the class. Another way of learning is a class made from one of these, here or in a file
of your own (`objective: ways.py:Mine`); an advantage estimator is an `RFT` with `advantages` of its own:

    class Centred(RFT):
        objective: Literal["ways.py:Centred"]

        def advantages(self, rewards_BG, greedy_B):
            return rewards_BG - rewards_BG.mean(dim=1, keepdim=True)

Nothing here needs torch: what learns is made by `make`, in a worker.
"""

from holdfast.learning.methods.estimators import CISPO, DAPO, GRPO, GSPO, RLOO, DrGRPO, Reinforce, ReMax
from holdfast.learning.methods.method import Method, OptimizerState, Shard
from holdfast.learning.methods.registry import (
    OBJECTIVES,
    every_setting,
    make_method,
    method_class,
    objectives_with,
)
from holdfast.learning.methods.rft import RFT
from holdfast.learning.methods.sft import SDFT, SFT, SampledSFT

__all__ = [
    "CISPO", "DAPO", "GRPO", "GSPO", "OBJECTIVES", "RFT", "RLOO", "SDFT", "SFT", "DrGRPO", "Method",
    "OptimizerState", "ReMax", "Reinforce", "SampledSFT", "Shard", "every_setting", "make_method",
    "method_class", "objectives_with",
]  # fmt: skip
