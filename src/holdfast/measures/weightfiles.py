"""Reading the weights of model and adapter folders tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from holdfast.errors import InputError, reading
from holdfast.files import read_json
from holdfast.policy.settings import ADAPTERS, holds_adapters
from holdfast.weights import indexed

ADAPTER_WEIGHTS = "adapter_model.safetensors"
HEADS = ("lm_head.weight", "embed_out.weight")
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")


class Folder:
    """The weights of one folder, read when they are asked for.

    Attributes:
        path: the folder.
        adapters: whether it holds LoRA adapters; a name then stands for an adapted matrix.
        names: of the tensors, each weight once.

    Raises:
        InputError: there are no weights, or none that can be compared.
    """

    def __init__(self, path: Path):
        self.path = path
        self.adapters = holds_adapters(path)
        self._files = {name: file for file in self._open() for name in file.keys()}  # noqa: SIM118
        if self.adapters:
            self._config = self._json(ADAPTERS)
            self.names = self._adapted()
        else:
            self.names = self._untied(sorted(self._files))

    def read(self, name: str) -> torch.Tensor:
        """A tensor as it is stored; of an adapted matrix, scale · B · A in float32.

        Raises:
            InputError: the file is damaged.
        """
        if not self.adapters:
            return self._read(name)
        a_RI, b_OR = (self._read(f"{name}.lora_{side}.weight").float() for side in "AB")
        rank = a_RI.shape[0]
        alpha = self._own_alpha(name) or self._config.get("lora_alpha", rank)
        scale = alpha / (math.sqrt(rank) if self._config.get("use_rslora") else rank)
        return scale * (b_OR @ a_RI)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor as it is stored, without reading it."""
        return tuple(self._files[name].get_slice(name).get_shape())

    def _read(self, name: str) -> torch.Tensor:
        with reading(f"{name} in {self.path}", "read"):
            return self._files[name].get_tensor(name)

    def _open(self) -> list[Any]:
        if not self.path.is_dir():
            raise InputError(f"There is no folder {self.path} with weights.")
        if self.adapters:
            paths = [self.path / ADAPTER_WEIGHTS]
        else:  # other files beside the shards that an index names may hold the weights again
            paths = (
                indexed(self.path)
                or sorted(self.path.glob("model.safetensors"))
                or sorted(self.path.glob("*.safetensors"))
            )
        if not paths:
            raise InputError(f"{self.path} has no weights (*.safetensors).")
        with reading(f"The weights in {self.path}", "read"):
            return [safe_open(path, "pt") for path in paths]

    def _json(self, name: str) -> dict[str, Any]:
        with reading(self.path / name, "read"):
            if not isinstance(said := read_json(self.path / name), dict):
                raise ValueError("it holds no settings")
            return said

    def _untied(self, names: Sequence[str]) -> list[str]:
        """Without the head where it is the embeddings under another name; not every writer leaves it out. One
        that holds something else counts, as transformers has it, whatever the configuration says."""
        config = self._json("config.json") if (self.path / "config.json").is_file() else {}
        tied = any(part.get("tie_word_embeddings") for part in (config, config.get("text_config") or {}))
        embeddings = [name for name in names if name.endswith(EMBEDDINGS)] if tied else []
        heads = {
            head
            for head in names
            if head.endswith(HEADS)
            and any(torch.equal(self._read(head), self._read(one)) for one in embeddings)
        }
        return [name for name in names if name not in heads]

    def _adapted(self) -> list[str]:
        """Names of the adapted matrices."""
        other = sorted(
            name for name in self._files if not name.endswith((".lora_A.weight", ".lora_B.weight"))
        )
        if other:
            raise InputError(
                f"{self.path} holds {other[0]}, which is not one of LoRA's pairs of matrices for a linear "
                "layer; movement of such adapters cannot be measured. Save the model with merge=True."
            )
        names = sorted(name.removesuffix(".lora_A.weight") for name in self._files if ".lora_A." in name)
        for name in names:
            if f"{name}.lora_B.weight" not in self._files:
                raise InputError(f"The adapters in {self.path} are incomplete: {name}.lora_B is missing.")
        return names

    def _own_alpha(self, name: str) -> float | None:
        """What peft's alpha_pattern says of a matrix, by the end of its name."""
        patterns: dict[str, float] = self._config.get("alpha_pattern") or {}
        return next((value for end, value in patterns.items() if name.endswith(f".{end}")), None)


def check_names(one: Folder, other: Folder) -> None:
    """See that two folders hold weights of the same names.

    Raises:
        InputError: they do not.
    """
    if different := sorted(set(one.names) ^ set(other.names)):
        holder, lacking = (one, other) if different[0] in one.names else (other, one)
        raise InputError(
            f"{different[0]} is in {holder.path} but not in {lacking.path}: they are not of the same model."
        )


def aligned(folders: Sequence[Folder]) -> Iterator[tuple[str, list[torch.Tensor]]]:
    """Each weight's name and its tensors in float32, one of each folder, in the folders' order of time.

    Whole models followed by adapters count as adapters that add nothing.

    Raises:
        InputError: the folders do not hold the same weights.
    """
    last = folders[-1]
    for folder in folders:
        if folder.adapters and not last.adapters:
            raise InputError(
                f"{folder.path} holds LoRA adapters and {last.path} a whole model: their weights cannot be "
                "compared. Save the adapters with merge=True first."
            )
        if folder.adapters == last.adapters:
            check_names(folder, last)
    if sorted(folders, key=lambda folder: folder.adapters) != list(folders):
        raise InputError("Adapters, a whole model and adapters again cannot be compared in this order.")
    for name in last.names:
        tensors = [folder.read(name) if folder.adapters == last.adapters else None for folder in folders]
        stored = [tensor for tensor in tensors if tensor is not None]
        shapes = {tuple(tensor.shape) for tensor in stored}
        if len(shapes) > 1:
            raise InputError(f"{name} has different shapes: {' and '.join(map(str, sorted(shapes)))}.")
        if not all(tensor.is_floating_point() for tensor in stored):
            if all(torch.equal(tensor, stored[0]) for tensor in stored):
                continue  # a table of positions, or the like
            raise InputError(
                f"{name} is stored in whole numbers (a quantised model?): its movement cannot be measured."
            )
        yield name, [torch.zeros_like(stored[0]) if t is None else t.float() for t in tensors]
