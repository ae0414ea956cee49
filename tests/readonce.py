"""The embedded model is read once in a process, as reading takes most of loading it; tests get copies."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from holdfast.policy.load import load_model
from holdfast.policy.settings import ModelSettings

ALIGNED = 64  # bytes: where in a line of a CPU's cache a weight begins decides the last bits of products

_read: dict[tuple[str, str], tuple[Any, Any]] = {}


def copied_model(source: str | Path, settings: ModelSettings) -> tuple[Any, Any]:
    """What `load_model` gives, to the bits of all that is computed with it."""
    if str(source) != "embedded":
        return load_model(source, settings)
    how = (settings.dtype, settings.device)
    if how not in _read:
        _read[how] = load_model(source, settings)
    model, _ = _read[how]
    return copy.deepcopy(_read[how], {id(one): _as_it_lies(one) for one in model.parameters()})


def _as_it_lies(weight: torch.nn.Parameter) -> torch.nn.Parameter:
    room = torch.empty(weight.nbytes + ALIGNED, dtype=torch.uint8, device=weight.device)
    start = (weight.data_ptr() - room.data_ptr()) % ALIGNED
    place = room[start : start + weight.nbytes].view(weight.dtype).view(weight.shape)
    return torch.nn.Parameter(place.copy_(weight.detach()), weight.requires_grad)
