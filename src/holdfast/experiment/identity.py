"""What a model *is*, apart from where it lies: the content of its files, or a hub id and revision."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from holdfast import files
from holdfast.errors import InputError
from holdfast.policy.device import device_name
from holdfast.policy.settings import ModelSettings, model_path
from holdfast.weights import indexed

HASHES, HASHES_VERSION = "model-hashes.json", 2  # in a store: what `model_identity` remembers
REMEMBER_FROM = 1 << 26  # bytes; the hashes of smaller files are not worth keeping
_DETERMINING = (".json", ".safetensors", ".txt", ".model", ".jinja", ".tiktoken", ".py")


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form (sorted keys, no white space)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def model_folder(model: ModelSettings) -> Path | None:
    """Where the model's files lie; None for a hub id."""
    folder = model_path(model.path)
    return folder if folder.is_dir() else None


def model_identity(model: ModelSettings, memory: Path) -> dict[str, Any]:
    """All that determines what the model computes.

    Args:
        memory: a JSON file that keeps the hashes of large weight files, by path, size and times.

    Raises:
        InputError: the embedded model is not in the package.
    """
    settings = loading_settings(model)
    folder = model_folder(model)
    if folder is None:
        if model.path == "embedded":
            raise InputError(
                "The embedded model is not in this installation; install Holdfast again, or make it from the "
                "source's folder with 'python tools/pretrain_embedded --out FOLDER' and name that folder."
            )
        return {"hub": model.path, "revision": model.revision, **settings}
    return {"files": folder_digests(folder, memory), **settings}


def check_unchanged(model: str, known: Any, now: Any) -> None:
    """See that a model's files are what they were when its jobs were planned.

    Args:
        model: where it lies, for the message.
        known: its identity then.
        now: its identity now.

    Raises:
        InputError: they are not; naming the first.
    """
    before, after = ({**one.get("files", {}), **one.get("adapters", {})} for one in (known, now))
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if names:
        raise InputError(f"The model {model} changed ({names[0]}) after the run was planned; run again.")


def loading_settings(model: ModelSettings) -> dict[str, Any]:
    """How the model is loaded, as far as that determines results."""
    device = device_name(model.device)  # a GPU's results are not those of `auto` on a CPU,
    device = model.device if device == "cpu" else device  # which keeps the word
    return model.model_dump(mode="json", exclude={"path", "revision"}) | {"device": device}


def determines(name: str) -> bool:
    """Whether a file of this name in a model folder determines the model."""
    return Path(name).suffix in _DETERMINING


def folder_digests(folder: Path, memory: Path) -> dict[str, str]:
    """SHA-256 of the files of a model folder that determine the model, by name.

    Raises:
        InputError: its index of weights names files outside it.
    """
    paths = {path for path in folder.iterdir() if determines(path.name) and path.is_file()}
    paths |= {*indexed(folder)}
    known = files.recall(memory, HASHES_VERSION, str)
    digests, learned = {}, False
    for path in sorted(paths):
        size, *times = files.state(path)
        key = " ".join(map(str, (path.resolve(), size, *times)))
        if size < REMEMBER_FROM:
            digests[path.name] = files.file_digest(path)
            continue
        if key not in known:
            known[key], learned = files.file_digest(path), True
        digests[path.name] = known[key]
    if learned:
        files.remember(memory, HASHES_VERSION, known)
    return digests
