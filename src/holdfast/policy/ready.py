"""Whether a model can be loaded here, as far as that shows without its weights: asked before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import files
from holdfast.errors import InputError
from holdfast.policy.environment import torchvision_works
from holdfast.policy.modelfacts import ModelFacts
from holdfast.policy.settings import ModelSettings

if TYPE_CHECKING:
    from holdfast.policy.encode import Encoder


def check_ready(
    source: str,
    settings: ModelSettings,
    memory: Path | None = None,
    beside: Callable[[], object] = lambda: None,
) -> None:
    """Look at packages, configuration and processor.

    Args:
        source: as `load_model` takes it. Of a hub id only what is on this disk is looked at.
        memory: of what was found ready before (`modelfacts.py`).
        beside: begins what can go on meanwhile, where this takes seconds.

    Raises:
        InputError: a package is missing or does not work, there is no such model folder, or its
            configuration or processor cannot be loaded.
    """
    facts = ModelFacts(memory, source, settings)
    if facts.get("ready"):
        return
    beside()
    torchvision_works()
    from holdfast.policy.load import check_loadable  # imports transformers: not beside a broken torchvision

    check_loadable(source, settings)
    facts.keep("ready", True)


def encoder_of(settings: ModelSettings) -> Encoder | None:
    """What turns rows into tokens for a model, without its weights; None for a hub id not on this disk.

    Raises:
        InputError: the model's configuration or processor cannot be used.
    """
    from holdfast.policy.load import make_encoder, resolve

    folder, options = resolve(settings.path, settings)
    try:
        return make_encoder(folder, options | {"local_files_only": True}, settings)
    except InputError:
        if options.get("local_files_only"):
            raise
        return None


def check_reachable(settings: ModelSettings) -> None:
    """See that a model on the hub can be had, before every job looks for it and waits.

    Raises:
        InputError: it is not on this disk, and the hub cannot be reached or has no such model.
    """
    if files.is_hub_id(settings.path) and not Path(settings.path).exists():
        from holdfast.policy.load import check_fetched

        check_fetched(settings)
