"""Looking into a safetensors file without loading it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.errors import InputError, NotRegular, reading, reason, shortened
from holdfast.files import check_regular, opened, parse_json, read_json

INDEX = "model.safetensors.index.json"
_ALONE = {"model.safetensors", "adapter_model.safetensors"}  # what needs no index
_SIZES = {"F32": 4, "BF16": 2, "F16": 2}


def indexed(folder: Path) -> list[Path]:
    """The files that a model folder's index of weights names; [] where it has no index.

    Raises:
        InputError: it cannot be read, or names what is no safetensors file in the folder itself; or there
            is none, and weights lie in files of other names; or something there is a pipe or a device.
    """
    try:
        check_regular(folder.glob("*"))  # transformers and safetensors would wait for a pipe
    except NotRegular as error:
        raise InputError(f"{error}; move it out of the model's folder.") from None
    path = folder / INDEX
    if not path.is_file():
        names = sorted(one.name for one in folder.glob("*.safetensors"))
        if names and not _ALONE.intersection(names):
            raise InputError(
                f"{folder} holds {names[0]}, and neither model.safetensors nor {INDEX}, which says what lies "
                "where; copy or download that, too, or rename the file if it holds all weights."
            )
        return []
    with reading(f"The index of weights {path}", advice="Copy or download it again."):
        if not (names := sorted({str(name) for name in read_json(path)["weight_map"].values()})):
            raise ValueError("it names no weights")
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise InputError(
                f"{path} names '{name}', but weights must lie in the model's own folder: "
                "move the file there and write its name alone."
            )
    for name in names:
        if not name.endswith(".safetensors"):
            raise InputError(
                f"{path} names '{shortened(name)}', but weights must be safetensors; convert them."
            )
        if "\0" in name or not (folder / name).is_file():
            raise InputError(
                f"{path} names {shortened(name)!r}, which is not there; copy or download it again."
            )
    return [folder / name for name in names]


def count_parameters(path: Path) -> int:
    """Numbers in a safetensors file, after checking that the file is as long as its header says.

    Raises:
        InputError: it is damaged or cut off.
    """
    return sum(math.prod(tensor["shape"]) for tensor in _tensors(path)[1].values())


def count_tensors(path: Path) -> int:
    """Tensors in a safetensors file.

    Raises:
        InputError: it is damaged or cut off.
    """
    return len(_tensors(path)[1])


def whole_numbers(path: Path) -> list[str]:
    """The weights in a safetensors file that are whole numbers, as those of packed models are.

    Raises:
        InputError: it is damaged or cut off.
    """
    tensors = _tensors(path)[1].items()
    return [
        name for name, tensor in tensors if name.endswith(".weight") and tensor["dtype"][:1] in ("I", "U")
    ]


def sample_weights(path: Path, most: int = 4096) -> np.ndarray:
    """The first numbers of every matrix, `most` of each, as float32, in one row.

    Raises:
        InputError: it is damaged or cut off.
    """
    start, tensors = _tensors(path)
    parts = [np.empty(0, np.float32)]
    with opened(path) as file:
        for tensor in tensors.values():
            size = _SIZES.get(tensor["dtype"])
            if size is None or len(tensor["shape"]) < 2:
                continue
            file.seek(start + tensor["data_offsets"][0])
            raw = file.read(size * min(most, math.prod(tensor["shape"])))
            if tensor["dtype"] == "BF16":  # the upper half of a float32
                parts.append((np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32))
            else:
                parts.append(np.frombuffer(raw, f"<f{size}").astype(np.float32))
    return np.concatenate(parts)


def _tensors(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Where the numbers begin, and what the header says of each tensor, by its name."""
    size = path.stat().st_size
    try:
        with opened(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size - 8:
                raise ValueError("it is cut off, or no safetensors file")
            header = parse_json(file.read(length))
        tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
        expected = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        if any(type(count) is not int for tensor in tensors.values() for count in tensor["shape"]):
            raise ValueError("a shape in it is not of whole numbers")
        if any(type(tensor["dtype"]) is not str for tensor in tensors.values()):
            raise ValueError("a kind of number in it is no word")
        if size != expected:
            raise ValueError(f"it has {size} bytes instead of {expected}")
        return 8 + length, tensors
    except Exception as error:  # a header is JSON, and may say anything
        text = f"The weights {path} are damaged ({reason(error)}); copy or download them again."
        raise InputError(text) from error
