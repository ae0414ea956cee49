"""Models whose weights are packed: judged as they are, trained by adapters alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, TorchAoConfig

from cli_helpers import Call
from experiment_helpers import write_config
from holdfast.errors import InputError
from holdfast.learning.methods import make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from policy_helpers import make_folder, make_policy
from test_group_pass import assert_equal_passes, random_batch
from test_unusable_models import one_line


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (None, "the model is quantised (by gptq), so its weights cannot be trained; set model.lora to train"),
        ({"rank": 4}, "needs optimum, which is not installed: pip install optimum"),
    ],
)
def test_said_before_any_work(call: Call, tmp_path: Path, command: str, lora: Any, said: str) -> None:
    """It was, of what little had been trained, when it could not be saved."""
    folder = make_folder(tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(settings))
    told = call(command, write_config(tmp_path, {"model": {"path": str(folder), "lora": lora}}))
    assert told.code == 2 and said in told.err and told.err.count("\n") < 4


def test_nor_where_it_shows_only_once_they_are_loaded(tmp_path: Path) -> None:
    policy = make_policy(make_folder(tmp_path))
    policy.model.quantization_method = "fp8"  # as transformers says it
    with pytest.raises(InputError, match=r"is quantised \(by fp8\).*Set model.lora") as told:
        make_optimizer(policy.model, make_method(objective="sft", learning_rate=1e-3))
    one_line(told.value)


def four_bits() -> Any:
    pytest.importorskip("bitsandbytes")
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)


def eight_bits() -> Any:
    """Of weights, not of activations."""
    return TorchAoConfig(pytest.importorskip("torchao.quantization").Int8WeightOnlyConfig())


@pytest.fixture(params=[four_bits, eight_bits])
def quantised(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a model that another package has packed."""
    whole, folder = make_folder(tmp_path / "whole"), tmp_path / "quantised"
    how: Any = {"quantization_config": request.param(), "device_map": "cpu"}
    model = AutoModelForImageTextToText.from_pretrained(whole, **how)
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
        whole = make_policy(quantised.parent / "whole").operations
        assert (policy.operations.text, policy.operations.vision) == (whole.text, whole.vision)
        policy.model.requires_grad_(False)
        policy.model.get_input_embeddings().weight.requires_grad_(True)
    prompts, completions = random_batch(policy, 1, (1, 0, 2), 3, 9)
    assert_equal_passes(policy, prompts, completions)
    drawn = policy.sample(prompts, 2, Sampling(max_tokens=5), torch.Generator().manual_seed(0))
    again = policy.logprobs_by("plain", prompts, drawn, 1.0).logprobs_BGR
    torch.testing.assert_close(again, drawn.logprobs_BGR, rtol=0, atol=2e-4)


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
