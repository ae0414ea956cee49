"""AdamW for weights in bfloat16, in which training does what it does in float32.

A bfloat16 number has 8 significant bits: added to a weight of 0.02, anything below 4e-5 is lost, and
RFT's steps are 1e-6. A second moment loses its decay in the same way: 0.999 times itself is itself.
So something must keep what the weights cannot hold. Three states do, in bytes for each parameter
beside the weight (2) and its gradient (2; 4 where several backward passes are added up):

    float32   the lower half of a float32 weight (2), moments in float32 (8): float32 training, to the bit
    compact   the same lower half (2), moments in bfloat16, rounded stochastically (4)
    kahan     the error of each addition (2), moments in bfloat16, rounded to nearest (4): what the
              framework behind the study does (EasyR1 at 188f4d4, `verl/utils/torch_functional.py`:
              AnyPrecisionAdamW, Kahan summation on by default)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.adamw import adamw

from holdfast.learning.methods import OptimizerState
from holdfast.rng import seed

EPSILON = 1e-8
MOMENTS = "exp_avg", "exp_avg_sq"
State = dict[str, torch.Tensor]  # an optimiser's, of one parameter
Group = dict[str, Any]  # of parameters, with its settings


class BFloat16AdamW(torch.optim.Optimizer):
    """AdamW (arXiv 1711.05101) over parameters of which some or all are bfloat16.

    Args:
        groups: as torch's optimisers take them, each with its `weight_decay`.
        state: what is kept beside the weights; parameters in float32 have moments in float32 always.
        stream: names of the random stream that `compact` rounds by.
    """

    def __init__(
        self,
        groups: list[Group],
        rate: float,
        betas: tuple[float, float],
        state: OptimizerState = "float32",
        stream: tuple[object, ...] = (),
    ):
        super().__init__(groups, {"lr": rate, "betas": betas})
        self.kept, self.stream = state, stream

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                number += 1
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter] or self._begin(parameter)
                if "compensation" in state:
                    _kahan_step(parameter, gradient, state, group)
                else:
                    self._step(parameter, gradient, state, group, number)
                state["step"] += 1

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` gave, each tensor as it was; torch would round moments to bfloat16."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, tensors in state_dict["state"].items():
            parameter = parameters[index]
            self.state[parameter] = {
                name: tensor if name == "step" else tensor.to(parameter.device)
                for name, tensor in tensors.items()
            }

    def _begin(self, parameter: torch.Tensor) -> State:
        in_float32 = parameter.dtype == torch.float32
        moments = torch.float32 if in_float32 or self.kept == "float32" else torch.bfloat16
        state = self.state[parameter]
        state["step"] = torch.zeros(())  # read by the host
        for name in MOMENTS:
            state[name] = torch.zeros_like(parameter, dtype=moments)
        if not in_float32:
            name, dtype = ("compensation", torch.bfloat16) if self.kept == "kahan" else ("rest", torch.int16)
            state[name] = torch.zeros_like(parameter, dtype=dtype)
        return state

    def _step(
        self, parameter: torch.Tensor, gradient: torch.Tensor, state: State, group: Group, number: int
    ) -> None:
        """torch's own AdamW, on the float32 weight and moments that the state stands for."""
        weight = join(parameter, state["rest"]) if "rest" in state else parameter.data
        moments = {name: state[name].float() for name in MOMENTS}  # themselves where they are float32
        adamw_step(weight, gradient.float(), {"step": state["step"], **moments}, group)
        if "rest" in state:
            put(parameter, state, weight)
        if state["exp_avg"].dtype == torch.bfloat16:
            generator = torch.Generator(parameter.device)
            generator.manual_seed(seed(*self.stream, "rounding", state["step"].item(), number))
            for name, moment in moments.items():
                state[name] = round_stochastically(moment, generator)


def adamw_step(weight: torch.Tensor, gradient: torch.Tensor, state: State, group: Group) -> None:
    """One of torch's own, in place, on a weight and its moments in float32; `step` counts those before."""
    (first, second), done = group["betas"], state["step"].to(weight, copy=True)
    adamw(
        [weight], [gradient], [state["exp_avg"]], [state["exp_avg_sq"]], [], [done],
        fused=True, amsgrad=False, beta1=first, beta2=second, lr=group["lr"],
        weight_decay=group["weight_decay"], eps=EPSILON, maximize=False,
    )  # fmt: skip


def split(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A float32 tensor as the nearest bfloat16 one and the 16 bits that are left (int16).

    Halves are rounded away from zero, so that the rest always fits.
    """
    bits = weight.view(torch.int32)
    return ((bits + 0x8000) >> 16).to(torch.int16).view(torch.bfloat16), bits.to(torch.int16)


def join(weight: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """What `split` took apart, to the bit; with a rest of zero, the bfloat16 weight as float32."""
    bits = weight.detach().view(torch.int16).to(torch.int32) << 16
    return bits.add_(rest).view(torch.float32)


def whole(parameter: torch.Tensor, state: State) -> torch.Tensor:
    """The weight in float32 that a parameter and an optimiser's state of it stand for; a copy."""
    if "rest" in state:
        return join(parameter, state["rest"])
    weight = parameter.detach().float()
    return weight + state["compensation"].float() if "compensation" in state else weight.clone()


@torch.no_grad()
def put(parameter: torch.Tensor, state: State, weight: torch.Tensor) -> None:
    """Let a parameter and the optimiser's state of it stand for a float32 weight."""
    if "rest" in state:
        high, state["rest"] = split(weight)
        parameter.copy_(high)
        return
    parameter.copy_(weight)
    if "compensation" in state:
        state["compensation"].copy_(weight - parameter.float())


def round_stochastically(values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Float32 to bfloat16, up or down with the chance that leaves the mean as it is."""
    noise = torch.randint(0x10000, values.shape, dtype=torch.int32, generator=generator, device=values.device)
    return (noise.add_(values.view(torch.int32)) >> 16).to(torch.int16).view(torch.bfloat16)


def _kahan_step(parameter: torch.Tensor, gradient: torch.Tensor, state: State, group: Group) -> None:
    """AdamW in bfloat16 throughout; what an addition loses is added the next time."""
    (first, second), rate = group["betas"], group["lr"]
    gradient = gradient.to(parameter.dtype)
    mean, square, missing = (state[key] for key in ("exp_avg", "exp_avg_sq", "compensation"))
    steps = state["step"].item() + 1
    parameter.mul_(1 - rate * group["weight_decay"])
    mean.mul_(first).add_(gradient, alpha=1 - first)
    square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
    scale = math.sqrt(1 - second**steps)
    missing.addcdiv_(mean, (square.sqrt() / scale).add_(EPSILON), value=-rate / (1 - first**steps))
    before = parameter.clone()
    parameter.add_(missing)
    missing.add_(before.sub_(parameter))
