"""What a model *is*, apart from where it lies: the content of its files, or a hub id and revision."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from holdfast import files
from holdfast.errors import InputError
from holdfast.policy.settings import ModelSettings

EMBEDDED_MODEL = Path(__file__).parents[1] / "policy" / "embedded" / "model"
REMEMBER_FROM = 1 << 26  # bytes; the hashes of smaller files are not worth keeping
_DETERMINING = (".json", ".safetensors", ".txt", ".model", ".jinja", ".tiktoken", ".py")


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form (sorted keys, no white space)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_folder(model: ModelSettings) -> Path | None:
    """Where the model's files lie; None for a hub id."""
    folder = EMBEDDED_MODEL if model.path == "embedded" else Path(model.path)
    return folder if folder.is_dir() else None


def model_identity(model: ModelSettings, memory: Path) -> dict[str, Any]:
    """All that determines what the model computes.

    Args:
        memory: a JSON file that keeps the hashes of large weight files, by path, size and time.

    Raises:
        InputError: the embedded model is not in the package.
    """
    settings = model.model_dump(mode="json", exclude={"path", "revision"})
    settings["device"] = _device(model.device)
    folder = model_folder(model)
    if folder is None:
        if model.path == "embedded":
            raise InputError(
                "The embedded model is not in this installation; install Holdfast again, or make it from the "
                "source's folder with 'python tools/pretrain_embedded --out FOLDER' and name that folder."
            )
        return {"hub": model.path, "revision": model.revision, **settings}
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in _DETERMINING and path.is_file()]
    return {"files": _file_digests(paths, memory), **settings}


def _device(setting: str) -> str:
    """The device that determines results: a GPU's are not those of `auto` on a CPU, which keeps the word."""
    if setting != "auto":
        return setting
    import torch

    return "cuda" if torch.cuda.is_available() else setting


def _file_digests(paths: list[Path], memory: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = files.read_json(memory)
    except (OSError, ValueError):
        known = {}
    digests, learned = {}, False
    for path in paths:
        facts = path.stat()
        key = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"
        if facts.st_size < REMEMBER_FROM:
            digests[path.name] = file_digest(path)
            continue
        if key not in known:
            known[key], learned = file_digest(path), True
        digests[path.name] = known[key]
    if learned:
        files.write_json(memory, known)
    return digests
