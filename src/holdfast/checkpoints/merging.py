"""Merging saved models into another: tensor by tensor, so that no model need fit in memory."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from holdfast import files
from holdfast.errors import InputError, none_of
from holdfast.measures.weightfiles import Folder, check_names
from holdfast.policy.merging import OF_ONE, RULES, by_depth
from holdfast.policy.settings import model_path
from holdfast.weights import INDEX

SHARD_BYTES = 4 * 2**30
BESIDE = (".jinja", ".json", ".model", ".tiktoken", ".txt")  # what lies beside weights and is copied


def merge_folders(
    method: str, base: str, checkpoints: Sequence[str], out: Path, alpha: float, share: float, shallow: float
) -> None:
    """Write θ_0 + α λ · m(θ_1 − θ_0, …, θ_n − θ_0) as a model folder, tensors in the last one's precision.

    Configuration and processor are those of the last checkpoint.

    Args:
        method: m, one of `policy.merging.RULES`.
        base: θ_0, a folder or `embedded`; `checkpoints` likewise.
        share: what is kept, by `ties` and `dare` of each tensor, by `intruders` of such dimensions.
        shallow: λ in the first layers, from where it grows to 1 in the last (`policy.merging.by_depth`).

    Raises:
        InputError: they cannot be merged; nothing is written then.
    """
    if method not in RULES:
        raise InputError(f"--method {none_of(method, RULES)}")
    if not checkpoints:
        raise InputError(
            f"--method {method} merges a base and what was made of it: name two folders or more."
        )
    if method in OF_ONE and len(checkpoints) > 1:
        several = "take average" if method == "wise" else "do it with each first"
        raise InputError(f"--method {method} is for a base and one checkpoint; of several, {several}.")
    if out.exists():
        raise InputError(f"{out} is there already; choose another folder with --out.")
    if not math.isfinite(alpha):
        raise InputError(f"--alpha must be a finite number, not {alpha:g}.")
    if not 0 < share <= 1 and not (method == "intruders" and share == 0):
        raise InputError(f"--share must be above 0 and at most 1, not {share:g}.")
    if not 0 <= shallow <= 1:
        raise InputError(f"--shallow must be between 0 and 1, not {shallow:g}.")
    folders = [Folder(model_path(name)) for name in (base, *checkpoints)]
    check_alike(folders)
    if not (folders[-1].path / "config.json").is_file():
        raise InputError(
            f"{folders[-1].path} holds no config.json, and the merged model would have the last one's: "
            f"copy it there, from {folders[0].path} if nothing of it was changed."
        )
    with files.whole_folder(out, new=True) as unfinished:
        for file in sorted(folders[-1].path.iterdir()):
            if file.suffix in BESIDE and file.name != INDEX:
                shutil.copyfile(file, unfinished / file.name)
        write_shards(merged(method, folders, alpha, share, shallow), unfinished)


def check_alike(folders: Sequence[Folder]) -> None:
    """See that folders hold states of one model.

    Raises:
        InputError: they do not.
    """
    base = folders[0]
    for folder in folders:
        if folder.adapters:
            raise InputError(
                f"{folder.path} holds LoRA adapters. Make a model of them first: "
                f"holdfast merge {folder.path} model.path=MODEL --out FOLDER."
            )
        check_names(base, folder)
        for name in base.names:
            shapes = base.shape(name), folder.shape(name)
            if shapes[0] != shapes[1]:
                raise InputError(
                    f"{name} is {list(shapes[0])} in {base.path} and {list(shapes[1])} in {folder.path}: "
                    "they are not of the same model."
                )


def merged(
    method: str, folders: Sequence[Folder], alpha: float, share: float, shallow: float
) -> Iterator[tuple[str, torch.Tensor]]:
    """Each weight of the merged model by its name, made when it is asked for.

    Raises:
        InputError: a weight is damaged, or the merged one is beyond its precision.
    """
    kept = by_depth(folders[0].names, shallow)
    for name in folders[0].names:
        base, *others = [folder.read(name) for folder in folders]
        last = others[-1]
        if len({tensor.is_floating_point() for tensor in (base, *others)}) > 1:
            raise InputError(f"{name} is stored in whole numbers in some only (a quantised model?).")
        if not last.is_floating_point():  # a table of positions, or the like
            if last.dim() and not all(torch.equal(tensor, last) for tensor in (base, *others)):
                raise InputError(f"{name} is stored in whole numbers that differ (a quantised model?).")
            yield name, last
            continue
        if any(tensor.element_size() < 2 for tensor in (base, *others)):
            raise InputError(f"{name} is stored in floats of 8 bits (a quantised model?).")
        for folder, tensor in zip(folders, (base, *others), strict=True):
            if not bool(torch.isfinite(tensor).all()):
                raise InputError(f"{name} in {folder.path} has numbers that are not finite; it is damaged.")
        base = base.float()
        vectors = [other.float() - base for other in others]
        made = (base + alpha * kept[name] * RULES[method](vectors, share, name, base)).to(last.dtype)
        if not bool(torch.isfinite(made).all()):
            raise InputError(f"{name} would hold numbers that {last.dtype} cannot; lower --alpha.")
        yield name, made


def write_shards(weights: Iterator[tuple[str, torch.Tensor]], folder: Path, most: int = SHARD_BYTES) -> None:
    """Weights as transformers lays them out: one file, or several of at most `most` bytes with an index."""
    shards: list[list[str]] = []
    held: dict[str, torch.Tensor] = {}
    size = total = 0

    def write() -> None:
        save_file(held, folder / f"{len(shards)}.part", metadata={"format": "pt"})
        shards.append(list(held))
        held.clear()

    for name, tensor in weights:
        if held and size + tensor.nbytes > most:
            write()
            size = 0
        held[name] = tensor.contiguous()
        size, total = size + tensor.nbytes, total + tensor.nbytes
    write()
    if len(shards) == 1:
        (folder / "0.part").rename(folder / "model.safetensors")
        return
    places: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        (folder / f"{number}.part").rename(folder / file)
        places |= dict.fromkeys(names, file)
    files.write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
