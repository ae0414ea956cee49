"""Looking into a safetensors file without loading it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from holdfast.errors import InputError


def count_parameters(path: Path) -> int:
    """Numbers in a safetensors file, after checking that the file is as long as its header says.

    Raises:
        InputError: it is damaged or cut off.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size - 8:
                raise ValueError("it is cut off, or no safetensors file")
            header = json.loads(file.read(length))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        expected = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
        if size != expected:
            raise ValueError(f"it has {size} bytes instead of {expected}")
        return sum(math.prod(tensor["shape"]) for tensor in tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the weights {path} are damaged ({error}); copy or download them again") from None
