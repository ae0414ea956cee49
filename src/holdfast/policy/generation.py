"""A checkpoint's generation_config.json: what ends a reply is read from it, and nothing else counts.

Penalties, bans, beams and the like would change what is sampled and not the log-probabilities that are
learned from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME, cached_file

from holdfast import files
from holdfast.errors import InputError


def check_settings(folder: str, options: dict[str, Any]) -> None:
    """See whether the file is sound, where there is one: transformers passes over one that is no JSON.

    Args:
        folder: a model folder or hub id.
        options: `revision`, `local_files_only`, as `from_pretrained` takes them.

    Raises:
        InputError: it is not.
    """
    try:
        path = cached_file(
            folder, GENERATION_CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **options
        )
    except OSError:
        return  # a hub id that is not at hand: whoever loads the weights says so
    if path is None:
        return
    try:
        settings = files.read_json(Path(path))
        ended_by = GenerationConfig.from_dict(settings).eos_token_id
    except Exception as error:  # wrong values show in many ways
        raise InputError(
            f"{path} cannot be read ({error}), and it is what says how a reply ends. Restore the "
            "checkpoint's own file, or remove it, so that the tokenizer's end token alone counts."
        ) from error
    if not all(type(end) is int for end in _as_list(ended_by)):
        raise InputError(f"{path} says eos_token_id {ended_by!r}; give a token's id, or a list of them.")


def ends(model: Any) -> set[int]:
    """Ids that end a reply, as the checkpoint's settings say."""
    return set(_as_list(getattr(model.generation_config, "eos_token_id", None)))


@contextmanager
def own_settings_aside(model: Any) -> Iterator[None]:
    """The model generates by what it is given, meanwhile: `generate` fills in the rest from its settings."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _as_list(ends: Any) -> list[Any]:
    return ends if isinstance(ends, list) else [] if ends is None else [ends]
