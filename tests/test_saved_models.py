"""Saved checkpoints are ordinary ones: stock transformers loads the folder and answers as the policy does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from cli_helpers import Call
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.example import Example, open_image
from holdfast.tasks.prompts import TEMPLATES, render_prompt

LONGEST = 24
EXAMPLES = [TASKS[name].examples("test", 1)[0] for name in ("counting", "reading", "tissue", "knowledge")]


def asked(example: Example) -> str:
    return render_prompt(example, "cot", TEMPLATES["embedded"])


def policys_answers(policy: Policy) -> list[str]:
    prompts = policy.encode([asked(example) for example in EXAMPLES], [list(e.images) for e in EXAMPLES])
    greedy = Sampling(temperature=0, max_tokens=LONGEST)
    return [group[0] for group in policy.decode(policy.sample(prompts, 1, greedy, torch.Generator()))]


def stock_answers(folder: Path) -> list[str]:
    """By transformers alone: weights, processor, chat template and generation settings of the folder."""
    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    GenerationConfig.from_pretrained(folder, local_files_only=True)
    answers = []
    for example in EXAMPLES:
        images = [open_image(image) for image in example.images]
        content = [{"type": "image", "image": image} for image in images]
        turn = [{"role": "user", "content": [*content, {"type": "text", "text": asked(example)}]}]
        inputs = processor.apply_chat_template(
            turn, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        out = model.generate(**inputs, do_sample=False, max_new_tokens=LONGEST)
        completion = out[0, inputs["input_ids"].shape[1] :].tolist()
        ends = model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends)
        kept = completion[: next((i for i, id in enumerate(completion) if id in ends), None)]
        answers.append(processor.tokenizer.decode(kept))
    return answers


def disturbed(settings: ModelSettings) -> Policy:
    """A policy that has changed, as by training."""
    policy = Policy.load("embedded", settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if parameter.requires_grad and ("lora_B" in name or settings.lora is None):
                size = 0.05 if settings.lora is None else 0.5
                parameter += size * torch.randn(parameter.shape, generator=generator)
    return policy


def test_a_saved_policy(tmp_path: Path) -> None:
    policy = disturbed(ModelSettings(device="cpu"))
    policy.save(tmp_path)
    assert stock_answers(tmp_path) == policys_answers(policy)
    assert policys_answers(policy) != policys_answers(Policy.load("embedded", ModelSettings(device="cpu")))


def test_the_merge_command(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    policy = disturbed(ModelSettings(device="cpu", lora=Lora()))
    adapters, merged = tmp_path / "adapters", tmp_path / "merged"
    policy.save(adapters)
    said = call("merge", adapters, "model.path=embedded", "--out", merged)
    assert said.code == 0, said.err
    assert not (merged / "adapter_config.json").exists()
    assert stock_answers(merged) == policys_answers(policy)
    assert policys_answers(policy) != policys_answers(Policy.load("embedded", ModelSettings(device="cpu")))

    for arguments, message in (
        ((adapters, "--out", tmp_path / "x"), "model.path=MODEL"),
        ((merged, "model.path=embedded", "--out", tmp_path / "x"), "holds no adapters"),
        ((adapters, "model.path=embedded", "--out", merged), "is there already"),
        ((adapters, "model.path=nowhere", "--out", tmp_path / "x"), "There is no model folder nowhere"),
    ):
        refused = call("merge", *arguments)
        assert refused.code == 2
        assert message in refused.err
    assert not (tmp_path / "x").exists()
