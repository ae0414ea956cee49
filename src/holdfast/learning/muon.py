"""Muon: matrices step along their orthogonalised momentum, the other weights by AdamW.

Jordan et al. (2024, "Muon: an optimizer for hidden layers in neural networks"), with the scale of Liu et al.
(arXiv 2502.16982), that makes AdamW's learning rates fit. For a matrix [r, c] with gradient g:

    m ← 0.95 m + g
    O ← the orthogonal factor of g + 0.95 m (Nesterov), by five Newton-Schulz steps
    W ← (1 − η λ) W − η 0.2 √max(r, c) O
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from holdfast.learning.bfloat16 import MOMENTS, Group, State, adamw_step

MOMENTUM = 0.95
STEPS = 5
COEFFICIENTS = (3.4445, -4.775, 2.0315)


class Muon(torch.optim.Optimizer):
    """Over parameters in float32.

    Args:
        groups: as torch's optimisers take them, each with its `weight_decay`.
        matrices: those parameters whose steps are orthogonalised.
    """

    def __init__(
        self,
        groups: list[Group],
        matrices: Iterable[torch.nn.Parameter],
        rate: float,
        betas: tuple[float, float],
    ):
        super().__init__(groups, {"lr": rate, "betas": betas})
        self.matrices = set(matrices)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if parameter in self.matrices:
                    _orthogonal_step(parameter, parameter.grad, state, group)
                else:
                    _adamw_step(parameter, parameter.grad, state, group)


def _orthogonal_step(parameter: torch.Tensor, gradient: torch.Tensor, state: State, group: Group) -> None:
    if not state:
        state["momentum"] = torch.zeros_like(parameter)
    momentum = state["momentum"].mul_(MOMENTUM).add_(gradient)
    direction = orthogonalised(gradient + MOMENTUM * momentum)
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    parameter.add_(direction, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)


def _adamw_step(parameter: torch.Tensor, gradient: torch.Tensor, state: State, group: Group) -> None:
    if not state:
        state["step"] = torch.zeros(())  # kept by the host
        state |= {name: torch.zeros_like(parameter) for name in MOMENTS}
    adamw_step(parameter, gradient, state, group)
    state["step"] += 1


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """About U Vᵀ of a matrix U S Vᵀ: its singular values are brought to between 0.7 and 1.2, in float32."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # the smaller side is multiplied with itself
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
