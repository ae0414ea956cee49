"""Whether a model can be loaded here, as far as that shows without its weights: asked before any work."""

from __future__ import annotations

from pathlib import Path

from holdfast.policy.environment import torchvision_works
from holdfast.policy.known import Known
from holdfast.policy.settings import ModelSettings


def check_ready(source: str, settings: ModelSettings, memory: Path | None = None) -> None:
    """Look at packages, configuration and processor.

    Args:
        source: as `load_model` takes it. Of a hub id only what is on this disk is looked at.
        memory: of what was found ready before (`known.py`).

    Raises:
        InputError: a package is missing or does not work, there is no such model folder, or its
            configuration or processor cannot be loaded.
    """
    known = Known(memory, source, settings)
    if known.get("ready"):
        return
    torchvision_works()
    from holdfast.policy.load import check_loadable  # imports transformers: not beside a broken torchvision

    check_loadable(source, settings)
    known.keep("ready", True)
