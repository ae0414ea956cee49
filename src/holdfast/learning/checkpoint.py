"""Step checkpoints: what a stage needs to go on after being killed, bit for bit.

Trainable weights and AdamW's moments as safetensors, and a small JSON. Random numbers come from
streams named after the iteration, so there is no generator state to keep.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from holdfast.errors import HoldfastError
from holdfast.files import read_json, recover_folder, whole_folder, write_json


def save_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    memory: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Replace the checkpoint in `folder`; whenever the process dies, the old one or the new one is left.

    Args:
        state: small facts, as JSON.
        memory: tensors that the objective goes on with.
    """
    for left_over in folder.parent.glob(f".{folder.name}.*"):  # of a killed process
        shutil.rmtree(left_over, ignore_errors=True)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    moments = optimizer.state_dict()["state"]
    tensors = {f"{index}.{key}": value for index, values in moments.items() for key, value in values.items()}
    with whole_folder(folder) as temporary:
        save_file(
            {
                name: parameter.detach()
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            },
            temporary / "weights.safetensors",
        )
        save_file(tensors, temporary / "optimizer.safetensors")
        if memory:
            save_file(dict(memory), temporary / "memory.safetensors")
        write_json(temporary / "state.json", state | {"parameters": names})


def load_checkpoint(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Put the checkpoint's weights and moments back; None when there is no checkpoint.

    Returns:
        The state, with the objective's tensors as `memory`.

    Raises:
        HoldfastError: the checkpoint belongs to other weights or is damaged.
    """
    recover_folder(folder)
    if not (folder / "state.json").exists():
        return None
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    try:
        state = read_json(folder / "state.json")
        weights, flat = load_file(folder / "weights.safetensors"), load_file(folder / "optimizer.safetensors")
        memory = folder / "memory.safetensors"
        state["memory"] = load_file(memory) if memory.exists() else {}
        if state["parameters"] != list(trainable):
            raise ValueError("it was written for other trainable parameters")
    except Exception as error:  # safetensors and json raise many kinds
        raise HoldfastError(
            f"The step checkpoint in {folder} cannot be used ({error}). "
            "Delete that folder to start the stage again."
        ) from error
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(weights[name])
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in flat.items():
        index, key = name.split(".", 1)
        moments.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return state
