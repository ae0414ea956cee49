"""The hub is asked whether it can be reached: libraries try for half a minute where no way leads to it."""

from __future__ import annotations

from typing import Literal

SECONDS = 10.0  # for its first answer


def reach(kind: Literal["dataset", "model"], name: str, revision: str | None) -> None:
    """Ask for what it says of a data set or a model. Offline nothing is asked: what was fetched is taken.

    Raises:
        Exception: whatever the hub library raises; it has changed HTTP clients before.
    """
    from huggingface_hub import HfApi, constants

    if not constants.HF_HUB_OFFLINE:
        api = HfApi()
        ask = api.dataset_info if kind == "dataset" else api.model_info
        ask(name, revision=revision, timeout=SECONDS)
