"""The embedded model is an ordinary checkpoint, and as able as its card says."""

import pytest
import torch

from holdfast.files import read_json
from holdfast.policy.policy import Policy
from holdfast.policy.processor import load_processor
from holdfast.policy.settings import EMBEDDED, ModelSettings
from holdfast.tasks.embedded import GENERAL, SEQUENCE, TASKS
from pretrain_embedded.card import measure
from pretrain_embedded.curriculum import Lesson
from pretrain_embedded.train import language_loss

ABILITIES = read_json(EMBEDDED / "abilities.json")


def test_transformers_loads_it_like_any_checkpoint():
    from transformers import AutoModelForImageTextToText

    processor = load_processor(EMBEDDED, text_only=False, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(EMBEDDED, local_files_only=True)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    example = TASKS["tissue"].examples("test", 1)[0]
    question = f"{example.prompt} answer"
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[text], images=[example.images[0]], return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    reply = processor.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert reply.strip() in (example.answer, *example.aliases)


def test_it_is_small():
    weights = EMBEDDED / "model.safetensors"
    assert weights.stat().st_size <= 8_000_000
    parameters = sum(
        parameter.numel() for parameter in Policy.load("embedded", ModelSettings()).model.parameters()
    )
    assert 1_000_000 <= parameters <= 3_000_000
    assert f"{parameters:,}" in (EMBEDDED / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "row", [row for row in ABILITIES if row["style"] == "cot"], ids=lambda row: row["task"]
)
def test_the_base_sees_well_and_has_room_to_learn(row):
    assert row["skill"] >= 0.9, "right in either convention"
    if row["task"] in SEQUENCE:
        assert 0.1 <= row["greedy"] <= 0.7
        assert row["any"] >= row["greedy"] + 0.15
    else:
        assert row["task"] in GENERAL


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diagrams", "relations", "counting", "facts"])
def test_the_card_tells_the_truth(name):
    policy = Policy.load("embedded", ModelSettings())
    now = measure(policy, TASKS[name], "cot", 100)
    then = next(row for row in ABILITIES if row["task"] == name and row["style"] == "cot")
    assert now.skill == pytest.approx(then["skill"], abs=0.12)
    assert now.greedy == pytest.approx(then["greedy"], abs=0.2)


def test_pre_training_lowers_the_loss_that_transformers_computes():
    """Lessons go through template, processor and group pass, as every other prompt does."""
    policy = Policy.load("embedded", ModelSettings(device="cpu"))
    example = TASKS["counting"].examples("train", 1)[0]
    question, reply = "how many red things are there ? think", r"\boxed{3}"
    for images in ((), example.images):
        parts = [{"type": "image"} for _ in images] + [{"type": "text", "text": question}]
        turn = [{"role": "user", "content": parts}]
        text = policy.processor.apply_chat_template(turn, add_generation_prompt=True)
        asked, whole = (
            policy.processor(text=[text + said], images=list(images) or None, return_tensors="pt")
            for said in ("", f"{reply}<|im_end|>")
        )
        labels = whole.input_ids.clone()
        labels[:, : asked.input_ids.shape[1]] = -100
        with torch.no_grad():
            expected = policy.model(**whole, labels=labels).loss
            lesson = Lesson(question, reply, images[0] if images else None, {})
            assert torch.allclose(language_loss(policy, [lesson]), expected, atol=1e-5)
