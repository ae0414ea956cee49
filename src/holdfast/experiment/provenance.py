"""Where, when and with what a result was made: kept beside it, and never part of what names it."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.experiment.identity import model_folder
from holdfast.generate.setting import machine
from holdfast.policy.device import device_name
from holdfast.policy.settings import ModelSettings
from holdfast.versions import package_versions


def provenance(threads: int, model: ModelSettings | None) -> dict[str, Any]:
    """Facts of a result that is made now, in this process.

    Args:
        model: that computed it; None for a server's, of which nothing is known here.
    """
    facts: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.node(),
    }
    if model is not None:
        facts["device"] = machine(device_name(model.device))
        if (commit := hub_commit(model)) is not None:
            facts["commit"] = commit
    return facts | {"threads": threads, "versions": package_versions()}


def hub_commit(model: ModelSettings) -> str | None:
    """The commit that a hub id's revision stands for on this disk; None for a folder."""
    if model_folder(model) is not None or model.path == "embedded":
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.path, "config.json", revision=model.revision)
    return Path(found).parent.name if isinstance(found, str) else None
