"""What was found out of a model folder, remembered: finding it out again imports torch, which takes seconds.

A fact is kept under a fingerprint of all that it may depend on: the folder's configuration, the sizes of its
weights, the settings and the versions of the packages that read them.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from holdfast import __version__, files
from holdfast.policy.settings import ModelSettings, model_path

FACTS = "model-facts.json"  # in a store
_KEPT = 20  # models
_PACKAGES = (
    "torch", "transformers", "tokenizers", "peft", "pillow", "torchvision",
    "bitsandbytes", "compressed-tensors", "gptqmodel", "optimum", "torchao",
)  # fmt: skip
_READ = (".json", ".jinja", ".txt", ".model", ".tiktoken")
_WEIGHTS = ".safetensors"


class ModelFacts:
    """The facts of one model.

    Args:
        memory: the JSON file that keeps them; None keeps nothing.
        source: a model folder, or `embedded`. Of a hub id nothing is kept.
    """

    def __init__(self, memory: Path | None, source: str, settings: ModelSettings) -> None:
        self.memory = memory
        self.key = None if memory is None else _fingerprint(source, settings)

    def get(self, fact: str) -> Any:
        """The fact; None if it is not known."""
        return self._all().get(self.key, {}).get(fact) if self.key else None

    def keep(self, fact: str, value: Any) -> None:
        """Remember it; a memory that cannot be written remembers nothing."""
        if self.memory is None or self.key is None:
            return
        known = self._all()
        kept = known.pop(self.key, {})  # the newest last
        known[self.key] = {**kept, fact: value}
        with suppress(OSError):
            files.write_json(self.memory, dict(list(known.items())[-_KEPT:]))

    def _all(self) -> dict[str, dict[str, Any]]:
        assert self.memory is not None
        known = files.read_if_there(self.memory)
        is_sound = isinstance(known, dict) and all(isinstance(facts, dict) for facts in known.values())
        return known if is_sound else {}


def configuration(folder: Path) -> dict[str, str]:
    """The files of a model folder but its weights, with their hashes; of weights, that they are there."""
    return {
        path.name: "" if path.suffix == _WEIGHTS else files.file_digest(path)
        for path in sorted(folder.iterdir())
        if path.suffix in (*_READ, _WEIGHTS) and path.is_file()
    }


def _fingerprint(source: str, settings: ModelSettings) -> str | None:
    folder = model_path(source)
    if not folder.is_dir():
        return None
    facts: list[object] = [__version__, source == settings.path, settings.model_dump(mode="json")]
    for package in _PACKAGES:
        try:
            facts.append(version(package))
        except PackageNotFoundError:
            facts.append(None)
    for one in dict.fromkeys((folder, model_path(settings.path))):  # of adapters also what they are for
        if one.is_dir():
            sizes = {path.name: path.stat().st_size for path in sorted(one.glob(f"*{_WEIGHTS}"))}
            facts += [configuration(one), sizes]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
