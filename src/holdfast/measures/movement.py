"""Weight movement: how far training moved the weights between two saved model folders.

Differences are taken in float32: in bfloat16 a small update looks sparse that is not (RL's Razor, arXiv
2509.04259, on "sparse" RL updates). Tensors are read one after the other, so memory is that of the
largest one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from holdfast.measures.weightfiles import EMBEDDINGS, HEADS, Folder, aligned
from holdfast.policy.families import part_of

THRESHOLDS = {"share_1e-6": 1e-6, "share_1e-5": 1e-5, "share_1e-4": 1e-4, "share_1e-3": 1e-3}


@dataclass
class Sums:
    """What is added up over the tensors of a group: after − before is `update`, before − earlier `last`."""

    parameters: int = 0
    before: float = 0.0  # sum of squares
    update: float = 0.0
    absolute: float = 0.0
    above: dict[str, int] = field(default_factory=lambda: dict.fromkeys(THRESHOLDS, 0))
    last: float = 0.0
    product: float = 0.0  # of update and last

    def add(self, before: torch.Tensor, after: torch.Tensor, earlier: torch.Tensor | None) -> None:
        update = after - before
        size = update.abs()
        self.parameters += update.numel()
        self.before += _square(before)
        self.update += _square(update)
        self.absolute += float(size.sum(dtype=torch.float64))
        for name, threshold in THRESHOLDS.items():
            self.above[name] += int((size > threshold).sum())
        if earlier is not None:
            last = before - earlier
            self.last += _square(last)
            self.product += float((update * last).sum(dtype=torch.float64))

    def row(self, group: str) -> dict[str, Any]:
        l2, before, last = (math.sqrt(square) for square in (self.update, self.before, self.last))
        return {
            "group": group,
            "parameters": self.parameters,
            "l2": l2,
            "relative": l2 / before if before else None,
            "mean_abs": self.absolute / self.parameters,
            **{name: count / self.parameters for name, count in self.above.items()},
            "cosine": self.product / (l2 * last) if l2 and last else None,
        }


def movement(before: Path, after: Path, earlier: Path | None = None) -> list[dict[str, Any]]:
    """How far the weights moved from `before` to `after`, by group of modules.

    Of LoRA adapters, the products scale · B · A are compared: what the adapters add to each adapted
    matrix. A whole model followed by adapters counts as adapters that add nothing. Tied weights
    count once, as embeddings.

    Args:
        before, after: folders with weights in safetensors, in one file or several.
        earlier: the folder that came before `before`.

    Returns:
        A row for each of the groups there are, of vision, projector, embeddings, block 0, block 1,
        …, head and other, and one for all. group; parameters (numbers compared); l2 (norm of the
        change); relative (to the norm of the weights before; None where that is 0, as for new
        adapters); mean_abs; share_1e-6 … share_1e-3 (share of the numbers that changed by more);
        cosine (between this change and the one from `earlier` to `before`; None without `earlier`
        or where one of them is zero).

    Raises:
        InputError: a folder cannot be read, or the folders do not hold the same weights.
    """
    folders = [Folder(path) for path in (earlier, before, after) if path is not None]
    sums: dict[str, Sums] = {}
    for name, (*past, old, new) in aligned(folders):
        for group in (group_of(name), "all"):
            sums.setdefault(group, Sums()).add(old, new, past[0] if past else None)
    return [sums[group].row(group) for group in sorted(sums, key=_order)]


def group_of(name: str) -> str:
    """The group of modules a weight belongs to, by its name in the file."""
    if (part := part_of(name)) is not None:
        return part
    block = re.search(r"\b(?:layers|h|blocks)\.(\d+)\.", name)
    if block:
        return f"block {int(block[1])}"
    if name.endswith(EMBEDDINGS):
        return "embeddings"
    return "head" if name.endswith(HEADS) else "other"


def _order(group: str) -> tuple[int, int]:
    if group.startswith("block "):
        return 3, int(group.removeprefix("block "))
    places = {"vision": 0, "projector": 1, "embeddings": 2, "head": 4, "other": 5, "all": 6}
    return places[group], 0


def _square(tensor: torch.Tensor) -> float:
    return float(tensor.square().sum(dtype=torch.float64))
