"""Activations that are computed anew in the backward pass, by transformers' own means."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from holdfast.errors import InputError, reason


def checkpoint_layers(model: Any) -> None:
    """Have the layers of a model keep their inputs alone, wherever it is in training mode (`set_mode`).

    Raises:
        InputError: its layers are not made for it.
    """
    is_new = hasattr(model, "activation_checkpointing_enable")  # since transformers 5.23
    try:
        getattr(model, f"{'activation' if is_new else 'gradient'}_checkpointing_enable")()
    except ValueError as error:
        raise InputError(
            f"model.activation_checkpointing does not fit {type(model).__name__}, as transformers has it: "
            f"{reason(error)}. Remove the setting."
        ) from error
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer._gradient_checkpointing_func = partial(_still, layer, layer._gradient_checkpointing_func)


def set_mode(model: Any, text: nn.Module | None, training: bool) -> None:
    """Training mode is on only where transformers needs it, to checkpoint activations: no dropout is.

    Args:
        text: the text model that a policy calls itself, which says the mode to who writes out its layers.
    """
    if model.training == training:
        return
    for module in model.modules():
        layer = isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing
        module.training = training and (layer or module in (model, text))


def _still(
    layer: nn.Module, checkpoint: Callable[..., Any], call: Callable[..., Any], *arguments: Any
) -> Any:
    """A checkpointed call within which the layer is not in training mode: some drop numbers by it."""

    @wraps(call)
    def quiet(*given: Any) -> Any:
        before, layer.training = layer.training, False
        try:
            return call(*given)
        finally:
            layer.training = before

    return checkpoint(quiet, *arguments)
