"""Models whose weights are packed: judged as they are, trained by adapters alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli_helpers import Call
from experiment_helpers import write_config
from holdfast.errors import InputError
from holdfast.learning.methods import make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings
from policy_helpers import make_folder, make_policy
from test_group_pass import assert_equal_passes, random_batch
from test_unusable_models import one_line


def test_whole_weights_are_not_trained(call: Call, tmp_path: Path) -> None:
    """Said before any work; it was, of what little had been trained, when it could not be saved."""
    folder = make_folder(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    packed = {name: (100 * weight).to(torch.int8) for name, weight in weights.items() if "q_proj.w" in name}
    save_file(weights | packed, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps(settings))
    config = write_config(tmp_path, {"model": {"path": str(folder)}})
    for command in ("plan", "run"):
        said = call(command, config)
        assert said.code == 2 and "q_proj.weight, say): its weights cannot be trained" in said.err
        assert "set model.lora to train adapters on it" in said.err


def test_nor_where_it_shows_only_once_they_are_loaded(tmp_path: Path) -> None:
    policy = make_policy(make_folder(tmp_path))
    layer = policy.model.model.language_model.layers[0].self_attn.q_proj
    layer.weight = torch.nn.Parameter(layer.weight.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(InputError, match=r"is quantised \(.*layers.0.*, say\).*with model.lora") as told:
        make_optimizer(policy.model, make_method(objective="sft", learning_rate=1e-3))
    one_line(told.value)


@pytest.fixture
def quantised(tmp_path: Path) -> Path:
    """A model's folder that bitsandbytes has packed in 4 bits."""
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    whole, folder = make_folder(tmp_path / "whole"), tmp_path / "quantised"
    bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForImageTextToText.from_pretrained(whole, quantization_config=bits, device_map="cpu")
    model.save_pretrained(folder)
    for file in whole.iterdir():
        if not file.name.startswith(("model", "config")):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_passes_are_equal(quantised: Path, lora: Lora | None) -> None:
    policy = Policy.load(quantised, ModelSettings(path=str(quantised), lora=lora))
    assert policy.way == "packed"
    if lora is None:
        policy.model.requires_grad_(False)
        policy.model.get_input_embeddings().weight.requires_grad_(True)
    assert_equal_passes(policy, *random_batch(policy, 1, (1, 0, 2), 3, 9))


def test_adapters_are_saved_loaded_and_not_merged(quantised: Path, tmp_path: Path, call: Call) -> None:
    settings: Any = ModelSettings(path=str(quantised), lora=Lora(rank=4))
    policy = Policy.load(quantised, settings)
    for parameter in policy.trained().values():
        parameter.data.normal_()
    policy.save(tmp_path / "adapters")
    again = Policy.load(tmp_path / "adapters", settings)
    for name, parameter in again.trained().items():
        assert torch.equal(parameter, policy.trained()[name])
    said = call("merge", tmp_path / "adapters", "--out", tmp_path / "merged")
    assert said.code == 2 and "is quantised" in said.err and not (tmp_path / "merged").exists()
