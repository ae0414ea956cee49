"""What is remembered of a model, so that planning does not wait for torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cli_helpers import Call
from holdfast.errors import InputError
from holdfast.experiment.architecture import architecture
from holdfast.policy.modelfacts import FACTS, ModelFacts
from holdfast.policy.ready import check_ready
from holdfast.policy.settings import EMBEDDED, ModelSettings

SETTINGS = ModelSettings()

PLAN = """
import sys
from holdfast.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "transformers", "pandas", "matplotlib"} & set(sys.modules)
print("imported:", *sorted(heavy))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("retention", "imported"),
    [
        ("[]", []),
        (
            "[{kind: ewc, strength: 10}, {kind: lwf}, {kind: rad}]",
            ["torch"],
        ),  # which is what strategies are written in
    ],
)
def test_a_plan_asked_again_waits_for_no_torch(
    tmp_path: Path, call: Call, retention: str, imported: list[str]
) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "name: tiny\nmodel: {path: embedded, device: cpu}\nprompts: embedded\nsequence: [photos, reading]\n"
        "general: []\ntrain_examples: 32\ntest_examples: 8\nevaluation: {max_tokens: 16}\nmethods:\n"
        f"  sft: {{objective: sft, learning_rate: 1.0e-4, retention: {retention}}}\n"
        f"output: {tmp_path}/out\nstore: {tmp_path}/store\n"
    )
    first = call("plan", config).out
    command = [sys.executable, "-c", PLAN, "plan", str(config)]
    again = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert again.splitlines() == [*first.splitlines(), " ".join(["imported:", *imported])]


def test_what_is_remembered_is_what_was_found(tmp_path: Path) -> None:
    memory = tmp_path / FACTS
    found = architecture(SETTINGS, memory)
    assert found is not None
    assert architecture(SETTINGS, memory) == architecture(SETTINGS) == found
    other = SETTINGS.model_copy(update={"freeze": ("vision",)})
    frozen = architecture(other, memory)
    assert frozen is not None and frozen.trained < found.trained  # settings count


def test_another_file_is_another_model(tmp_path: Path) -> None:
    folder, memory = tmp_path / "model", tmp_path / FACTS
    shutil.copytree(EMBEDDED, folder)
    settings = ModelSettings(path=str(folder))
    check_ready(str(folder), settings, memory)
    assert ModelFacts(memory, str(folder), settings).get("ready") is True
    weights = folder / "model.safetensors"
    weights.rename(tmp_path / "away")  # nothing to load
    with pytest.raises(InputError, match="has no weights"):
        check_ready(str(folder), settings, memory)
    (tmp_path / "away").rename(weights)
    check_ready(str(folder), settings, memory)
    save_file({"one": torch.zeros(1)}, weights)  # of another model
    with pytest.raises(InputError, match="do not fit its config"):
        check_ready(str(folder), settings, memory)
    shutil.copyfile(EMBEDDED / "model.safetensors", weights)
    check_ready(str(folder), settings, memory)
    (folder / "config.json").write_text("{}")
    assert ModelFacts(memory, str(folder), settings).get("ready") is None
    with pytest.raises(InputError):
        check_ready(str(folder), settings, memory)


def test_adapters_are_known_with_the_model_that_they_are_for(tmp_path: Path) -> None:
    base, adapters, memory = tmp_path / "base", tmp_path / "adapters", tmp_path / FACTS
    shutil.copytree(EMBEDDED, base)
    adapters.mkdir()
    settings = ModelSettings(path=str(base))
    ModelFacts(memory, str(adapters), settings).keep("ready", True)
    assert ModelFacts(memory, str(adapters), settings).get("ready") is True
    (base / "config.json").write_text("{}")
    assert ModelFacts(memory, str(adapters), settings).get("ready") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "null"])
def test_a_damaged_memory_is_asked_nothing(content: str, tmp_path: Path) -> None:
    memory = tmp_path / FACTS
    memory.write_text(content)
    known = ModelFacts(memory, "embedded", SETTINGS)
    assert known.get("ready") is None
    known.keep("ready", True)
    assert known.get("ready") is True
    assert len(json.loads(memory.read_text())) == 1
