"""The device that a setting names. Nothing here makes a context on a GPU but `device_for`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import InputError, reason

if TYPE_CHECKING:
    import torch


def device_name(setting: str) -> str:
    """The device of a setting; `auto` is the GPU if torch can use one, else the CPU."""
    if setting != "auto":
        return setting
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def device_for(setting: str) -> torch.device:
    """The same for torch, tried out.

    Raises:
        InputError: torch cannot use it.
    """
    import torch

    name = device_name(setting)
    try:
        torch.empty(0, device=name)
    except Exception as error:
        raise InputError(
            f"device: {name} cannot be used ({reason(error)}). Use auto, cpu or cuda."
        ) from error
    return torch.device(name)
