"""What ranks tell each other, as bytes.

They are pickled. Ranks read only what ranks of the same team wrote (`rendezvous.py`, `board.py`).
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch

from holdfast import plugins
from holdfast.errors import HoldfastError


def pickled(message: Any) -> bytes:
    content = io.BytesIO()
    _Pickler(content).dump(message)
    return content.getvalue()


def unpickled(content: bytes) -> Any:
    return pickle.loads(content)


class _Pickler(pickle.Pickler):
    """Of tensors it takes the numbers alone; they come out on the CPU."""

    def reducer_override(self, one: Any) -> Any:
        if not isinstance(one, torch.Tensor):
            return NotImplemented
        numbers = one.detach().cpu().flatten().view(torch.uint8)
        return _tensor, (bytearray(numbers.numpy()), one.dtype, one.shape)


def _tensor(numbers: bytearray, dtype: torch.dtype, shape: torch.Size) -> torch.Tensor:
    return (torch.frombuffer(numbers, dtype=dtype) if numbers else torch.empty(0, dtype=dtype)).view(shape)


def portable(error: Exception | None) -> Exception | None:
    """An error as another process can have it, to which no traceback comes along."""
    known = HoldfastError, MemoryError, torch.OutOfMemoryError
    if error is not None and not isinstance(error, known) and (said := plugins.fault(error)):
        return HoldfastError(said)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return HoldfastError(f"{type(error).__name__}: {error}")
    return error
