"""Named random streams.

Every random choice draws from a stream named after what it is for, such as
``("stage", seed, task, iteration, "sample")``. No global state: results do not depend on which
process runs a job, in what order, or whether it was killed and resumed on the way.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seed(*names: object) -> int:
    """A 63-bit seed that depends on all `names` (their `str` forms, in order)."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(*names: object) -> random.Random:
    """A Python generator for the stream with these names."""
    return random.Random(seed(*names))


def torch_stream(*names: object, device: str = "cpu") -> torch.Generator:
    """A torch generator on `device` for the stream with these names."""
    import torch

    return torch.Generator(device=device).manual_seed(seed(*names))
