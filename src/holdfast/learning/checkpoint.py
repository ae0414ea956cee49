"""Step checkpoints: what a stage needs to go on after being killed, bit for bit.

Trainable weights, the optimiser's state and what objective and strategies remember as safetensors, a small
JSON, and a manifest of their sizes and hashes. Random numbers come from streams named after the iteration,
so there is no generator state to keep.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from holdfast.errors import HoldfastError
from holdfast.files import listing, read_json, recover_folder, whole_folder, write_json
from holdfast.learning.curve import Curve
from holdfast.learning.partition import Partition
from holdfast.policy.gradients import trained_weights

MANIFEST = "manifest.json"
WEIGHTS, MOMENTS, MEMORY = "weights", "optimizer", "memory"  # files, and `NAME-RANK` of other ranks


class DamagedCheckpoint(HoldfastError):
    """A checkpoint is not what was written, or not of this stage."""


def save_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    memory: Mapping[str, torch.Tensor],
    curve: Curve,
    partition: Partition,
) -> None:
    """Replace the checkpoint in `folder`; whenever the process dies, the old one or the new one is left.

    All ranks of a team call this. The one that leads writes; each of the others, its part of what is shared
    out, in files of its own.

    Args:
        state: small facts, as JSON.
        memory: tensors that the objective goes on with.
        curve: the rows so far, which belong to the checkpoint.
        partition: of the optimiser's state and maybe of the weights, among the ranks of a team.
    """
    team = partition.team
    moments = optimizer.state_dict()["state"]
    tensors = {f"{index}.{key}": value for index, values in moments.items() for key, value in values.items()}
    trained = trained_weights(model)
    weights = {name: one.detach() for name, one in trained.items() if partition.holds(one)}
    parts = {WEIGHTS: weights, MOMENTS: tensors, MEMORY: dict(memory)}
    if not team.leads:
        place = team.agreed(Path, folder.name)
        for name in parts if partition.in_parts else [MOMENTS] if partition.shared else []:
            _save(parts[name], place / f"{name}-{team.rank}.safetensors")
        team.together(lambda: list(tensors), MANIFEST)
        return
    for left_over in folder.parent.glob(f".{folder.name}.*"):  # of a killed process
        shutil.rmtree(left_over, ignore_errors=True)
    with whole_folder(folder) as temporary:
        team.agreed(lambda: temporary, folder.name)
        for name, part in parts.items():
            _save(part, temporary / f"{name}.safetensors")
        names = {name for part in team.together(lambda: list(tensors), MANIFEST) for name in part}
        facts = {"parameters": list(trained), "moments": sorted(names), "curve": curve.mark()}
        write_json(temporary / "state.json", state | facts)
        write_json(temporary / MANIFEST, {"work": folder.parent.name, "files": listing(temporary)})


def load_checkpoint(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, curve: Curve, partition: Partition
) -> dict[str, Any] | None:
    """Put the checkpoint's weights, moments and rows back; None when there is no checkpoint.

    All ranks of a team read it, or none does, however many there were when it was written.

    Returns:
        The state, with the objective's tensors as `memory`.

    Raises:
        DamagedCheckpoint: it, or the curve, is not what was written, or belongs to other weights. Weights and
            moments are as they were.
    """
    team = partition.team
    team.agreed(lambda: recover_folder(folder))
    there = team.together(lambda: os.path.lexists(folder))
    if not there[0]:
        return None
    if not all(there):
        raise HoldfastError(f"{folder} is not on all ranks: the store must be on a disk that they share.")

    saved = team.do(lambda: _read_whole(folder, model, optimizer, curve, partition))
    curve.begin(saved.rows)
    with torch.no_grad():
        parameters = trained_weights(model)
        for name, weight in saved.weights.items():
            parameters[name].copy_(weight)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved.moments, "param_groups": groups})
    return saved.state


@dataclass(frozen=True)
class _Saved:
    """What a checkpoint holds for this rank.

    Attributes:
        moments: tensors of the optimiser's state by name, of each parameter by its place.
        rows: of the learning curve, up to the checkpoint.
    """

    state: dict[str, Any]
    weights: dict[str, torch.Tensor]
    moments: dict[int, dict[str, torch.Tensor]]
    rows: bytes


def _read_whole(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, curve: Curve, partition: Partition
) -> _Saved:
    """A checkpoint, with everything in it as it was written.

    Raises:
        DamagedCheckpoint: something is not.
    """
    try:
        state = _read_state(folder)
        weights = _read_weights(folder, state, model, partition)
        moments = _read_moments(folder, state, optimizer, partition)
        return _Saved(state, weights, moments, curve.before(state["curve"]))
    except MemoryError:
        raise
    except Exception as error:  # safetensors and json raise many kinds
        raise DamagedCheckpoint(f"the step checkpoint in {folder} cannot be used: {error}") from error


def _read_state(folder: Path) -> dict[str, Any]:
    """The small facts with the objective's tensors as `memory`, after a look at all files.

    Raises:
        ValueError: it belongs to another stage, or a file is not what the manifest says.
    """
    manifest = read_json(folder / MANIFEST)
    if manifest["work"] != folder.parent.name:
        raise ValueError("it belongs to another stage")
    found = listing(folder)
    found.pop(MANIFEST)
    for name in sorted(found.keys() | manifest["files"].keys()):
        if found.get(name) != manifest["files"].get(name):
            raise ValueError(f"{name} is not what was written")
    state = read_json(folder / "state.json")
    _, state["memory"] = _tensors(folder, MEMORY)
    return state


def _read_weights(
    folder: Path, state: dict[str, Any], model: torch.nn.Module, partition: Partition
) -> dict[str, torch.Tensor]:
    """The trained weights that this rank holds, by name.

    Raises:
        ValueError: they are not those of the model.
    """
    trainable = trained_weights(model)
    held = {name for name, parameter in trainable.items() if partition.holds(parameter)}
    names, weights = _tensors(folder, WEIGHTS, held.__contains__)
    if state["parameters"] != list(trainable) or names != trainable.keys():
        raise ValueError("it was written for other trainable parameters")
    for name, weight in weights.items():
        parameter = trainable[name]
        if (weight.shape, weight.dtype) != (parameter.shape, parameter.dtype):
            raise ValueError(f"{name} has another shape or type than the model's")
    return weights


def _read_moments(
    folder: Path, state: dict[str, Any], optimizer: torch.optim.Optimizer, partition: Partition
) -> dict[int, dict[str, torch.Tensor]]:
    """The optimiser's state of the parameters that this rank steps, by their places.

    Raises:
        ValueError: it is not whole, or not that of these parameters.
    """
    names, tensors = _tensors(folder, MOMENTS, lambda name: int(name.partition(".")[0]) in partition.own)
    if state["moments"] != sorted(names):
        raise ValueError("it lacks some of the optimiser's moments")
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        moments.setdefault(int(index), {})[key] = tensor
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    for place, tensors in moments.items():
        for key, tensor in tensors.items():
            if tensor.shape != (() if key == "step" else shapes[place]):
                raise ValueError(f"{key} of parameter {place} has another shape than the optimiser's")
    return moments


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Tensors into a file; one of what is remembered is there only where something is."""
    if tensors or path.stem != MEMORY:
        save_file(tensors, path)


def _tensors(
    folder: Path, kind: str, wanted: Callable[[str], bool] = lambda _: True
) -> tuple[set[str], dict[str, torch.Tensor]]:
    """The names of all tensors of a kind, whichever ranks wrote them, and those that are wanted."""
    names: set[str] = set()
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob(f"{kind}*.safetensors")):
        with safe_open(path, "pt") as file:
            names |= set(file.keys())
            for name in filter(wanted, file.keys()):
                tensors[name] = file.get_tensor(name)
    return names, tensors
