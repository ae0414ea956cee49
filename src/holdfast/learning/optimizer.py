"""What makes a step: AdamW for weights of either precision, or Muon; and the gradients it gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from holdfast.errors import InputError
from holdfast.learning.bfloat16 import BFloat16AdamW
from holdfast.learning.methods import Method
from holdfast.learning.muon import Muon
from holdfast.policy.gradients import trained_matrices
from holdfast.policy.lora import has_adapters, quantised
from holdfast.policy.shards import Shards


def make_optimizer(
    model: torch.nn.Module, method: Method, stream: tuple[object, ...] = ()
) -> torch.optim.Optimizer:
    """The method's optimiser over the trainable parameters; only matrices decay.

    Weights in bfloat16 get an AdamW that rounds none of its steps away.

    Args:
        stream: names of the random stream that moments in bfloat16 are rounded by.

    Raises:
        InputError: Muon is to train weights in bfloat16; or a quantised model is to be trained.
    """
    if not has_adapters(model) and (by := quantised(model)):
        raise InputError(
            f"The model is quantised (by {by}): its weights cannot be trained. Set model.lora to train "
            "adapters on it, or name the model that it was made of with model.path."
        )
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": method.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    in_bfloat16 = any(parameter.dtype == torch.bfloat16 for parameter in trainable)
    if method.optimizer == "muon":
        if in_bfloat16:
            raise InputError("optimizer: muon would lose its steps in bfloat16 weights; use float32 or LoRA.")
        return Muon(groups, trained_matrices(model).values(), method.learning_rate, method.betas)
    if in_bfloat16:
        return BFloat16AdamW(groups, method.learning_rate, method.betas, method.optimizer_state, stream)
    return torch.optim.AdamW(groups, lr=method.learning_rate, betas=method.betas, fused=True)


def add_up_in_float32(parameters: Iterable[torch.nn.Parameter], parts: int) -> None:
    """Have gradients of several backward passes added up in float32.

    In bfloat16 a sum of many small parts loses those that are less than half its last digit. One
    part alone keeps its own precision, and half the memory. To be called while there are no gradients.
    """
    for parameter in parameters:
        dtype = parameter.dtype
        parameter.grad_dtype = torch.promote_types(dtype, torch.float32) if parts > 1 else dtype


def clip(parameters: Sequence[torch.nn.Parameter], bound: float, shards: Shards) -> float:
    """Scale gradients down to a norm of `bound`; their norm before, added up in at least float32."""
    norm = shards.norm(parameters)
    torch.nn.utils.clip_grads_with_norm_(parameters, bound, norm)
    return norm.item()
