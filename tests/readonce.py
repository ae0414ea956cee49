"""Models are read once in a process, as reading takes most of loading them; tests get copies.

The embedded one at once; a folder where it is asked for again, as most are not.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from holdfast.policy.load import load_model
from holdfast.policy.settings import ModelSettings, holds_adapters

ALIGNED = 64  # bytes: where in a line of a CPU's cache a weight begins decides the last bits of products
MOST = 32  # models of folders that are kept

_read: dict[tuple[Any, ...], tuple[Any, Any]] = {}
_asked: dict[tuple[Any, ...], None] = {}  # folders as they were when they were read, but not kept


def copied_model(source: str | Path, settings: ModelSettings) -> tuple[Any, Any]:
    """What `load_model` gives, to the bits of all that is computed with it."""
    how = (_state(source), settings.dtype, settings.device)
    if how[0] is None:
        return load_model(source, settings)
    if how not in _read:
        made = load_model(source, settings)
        if str(source) != "embedded":
            if how not in _asked:
                _asked[how] = None
                return made
            for old in [one for one in _read if one[0] != "embedded"][: -MOST + 1]:
                del _read[old]
        _read[how] = made
    model, _ = _read[how]
    return copy.deepcopy(_read[how], {id(one): _as_it_lies(one) for one in model.parameters()})


def _state(source: str | Path) -> Any:
    """Something that differs where what is read does; None where that cannot be told."""
    if str(source) == "embedded":
        return "embedded"
    folder = Path(source)
    if not folder.is_dir() or holds_adapters(folder):
        return None
    files = [(str(path), path.stat()) for path in sorted(folder.rglob("*"))]
    return str(folder), *(
        (name, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in files
    )


def _as_it_lies(weight: torch.nn.Parameter) -> torch.nn.Parameter:
    room = torch.empty(weight.nbytes + ALIGNED, dtype=torch.uint8, device=weight.device)
    start = (weight.data_ptr() - room.data_ptr()) % ALIGNED
    place = room[start : start + weight.nbytes].view(weight.dtype).view(weight.shape)
    return torch.nn.Parameter(place.copy_(weight.detach()), weight.requires_grad)
