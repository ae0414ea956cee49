"""Anchored supervised fine-tuning: what dynamic fine-tuning makes certain is held near the base.

Zhu et al. (arXiv 2509.23753): the mean over tokens of

    sg[π(y_t)] · (−log π(y_t)) + α KL(π_base(· | x, y_<t) ‖ π(· | x, y_<t))

The first term is the method's own (`loss: dft`), the second is added here. Its direction is that of the
released code, whose α is 0.1; an independent port notes that the paper names the other one. In a sequence of
tasks the base may be the model before all of them or before the stage: `to` chooses.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.learning.methods import Method
from holdfast.learning.retention.lwf import ChosenTeacher


class AnchoredSFT(ChosenTeacher):
    kind: Literal["asft"] = "asft"  # type: ignore[assignment]
    alpha: float = Field(0.1, gt=0)

    def unfit(self, method: Method) -> str | None:
        if getattr(method, "loss", None) != "dft":
            return "anchors dynamic fine-tuning; use it with objective: sft and loss: dft"
        return None
