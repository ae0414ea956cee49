"""A checkpoint whose processor is another model's is refused, with what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InputError
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from policy_helpers import make_folder


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def add_word(tokenizer: dict[str, Any]) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["another"] = max(vocabulary.values()) + 10_000


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("tokenizer.json", add_word, "the weights embeddings for"),
        ("config.json", lambda config: config.update(image_token_id=9), "image_token_id 9"),
        (
            "processor_config.json",
            lambda config: config["image_processor"].update(patch_size=16),
            "the image processor has patch_size 16",
        ),
        (
            "processor_config.json",
            lambda config: config["image_processor"].update(merge_size=4),
            "merge_size 4, the vision tower spatial_merge_size 2",
        ),
    ],
)
def test_mixed_folders(tmp_path: Path, file: str, change: Callable[..., object], message: str) -> None:
    folder = make_folder(tmp_path / "model")
    Policy.load(folder, ModelSettings())
    edit(folder / file, change)
    with pytest.raises(InputError, match=r"does not fit its weights: .*" + message):
        Policy.load(folder, ModelSettings())
