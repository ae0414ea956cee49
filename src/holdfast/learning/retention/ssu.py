"""Source-shielded updates: the input columns of each matrix that earlier knowledge runs through are frozen.

SSU (arXiv 2512.04844), with the score of Wanda (Sun et al., arXiv 2306.11695) for a weight W_ij:

    s_ij = |W_ij| · ‖X_j‖₂        ‖X_j‖₂: the norm of input j over all tokens of calibration examples

Of each matrix the half of the columns j with the highest Σ_i s_ij get no update in the stage. (That columns
are ranked by the sum is our reading.) The paper calibrates on 500 general samples; here these are examples of
earlier tasks, in the first stage those of its own, each with an answer that the policy draws. Weights that
are no input of a matrix (embeddings, norms, biases) are learned. `control: random` freezes as many columns of
each matrix, drawn by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from holdfast.learning.retention import Memory
from holdfast.learning.retention.frozen import Frozen
from holdfast.learning.retention.inputs import listening
from holdfast.learning.retention.passes import mean_over_answers
from holdfast.learning.retention.vectors import random_mask, top_mask
from holdfast.learning.stage import Stage
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.gradients import trained_matrices, trained_parameters
from holdfast.rng import torch_stream

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


class SSU(Frozen):
    rehearses = True
    adapters = False

    kind: Literal["ssu"] = "ssu"
    share: float = Field(0.5, gt=0, lt=1)  # of the columns of each matrix that are frozen
    calibrate_on: Literal["earlier", "new"] = "earlier"
    examples: int = Field(64, ge=1)  # to calibrate on
    max_tokens: int = Field(64, ge=1)  # of an answer
    control: Literal["random"] | None = None

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Calibrate, and choose the columns."""
        policy = stage.policy
        columns = self.columns(trained_matrices(policy.model), self.activations(stage))
        if self.control:
            generator = torch_stream(*stage.stream, "ssu", "control", device=str(policy.device))
            columns = {weight: random_mask(mask, generator) for weight, mask in columns.items()}
        masks = [
            columns[one].expand_as(one) if one in columns else torch.zeros_like(one, dtype=torch.bool)
            for one in trained_parameters(policy)
        ]
        self.freeze(stage, memory, torch.cat([mask.flatten() for mask in masks]))

    def columns(
        self, matrices: dict[str, torch.nn.Parameter], squares: dict[str, torch.Tensor]
    ) -> dict[torch.nn.Parameter, torch.Tensor]:
        """Which columns [I] of each matrix [O, I] are frozen.

        Args:
            squares: ‖X_j‖² of its inputs, [I], by the matrix's name.
        """
        return {
            weight: top_mask(weight.detach().float().abs().sum(0) * squares[name].sqrt(), self.share)
            for name, weight in matrices.items()
            if name in squares
        }

    def activations(self, stage: Stage) -> dict[str, torch.Tensor]:
        """The mean over calibration examples of ‖X_j‖², [I], by the name of the matrix."""
        policy = stage.policy
        earlier = [item for pool in stage.earlier.values() for item in pool]
        items = earlier if earlier and self.calibrate_on == "earlier" else stage.items
        widths = {name: weight.shape[1] for name, weight in trained_matrices(policy.model).items()}
        measure = partial(squared_inputs, policy, widths)
        total = mean_over_answers(stage, self.name, items, self.examples, self.max_tokens, measure)
        return dict(zip(widths, total.split(list(widths.values())), strict=True))


def squared_inputs(
    policy: Policy, widths: Mapping[str, int], prompt: Prompts, answer: Completions
) -> torch.Tensor:
    """‖X_j‖² over all tokens of one example: of each matrix [I], one after the other in one vector.

    Args:
        widths: I of each matrix, by name.
    """
    squares = {name: torch.zeros(width, device=policy.device) for name, width in widths.items()}

    def heard(name: str, inputs: torch.Tensor) -> None:
        squares[name] += inputs.square().flatten(0, -2).sum(0)

    with torch.no_grad(), listening(policy, widths, heard):
        policy.group_logprobs(prompt, answer)
    return torch.cat(list(squares.values()))
