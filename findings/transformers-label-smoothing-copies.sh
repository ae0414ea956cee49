#!/usr/bin/env bash
# transformers' label_smoothing_factor teaches a vision-language model to repeat its input: Trainer shifts the labels by
# one, so that a token is trained to be followed by the next, only for classes on a list of language models, and a
# LLaVA, a Qwen2.5-VL, a Qwen3-VL and an InternVL are not on it. The loss falls as it should, and what is generated is
# the last word, over and over. Nothing is said; without label smoothing the same training learns what it is shown.
# Exits with 0 while that is so. Takes about 1.3 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 ACCELERATE=1.15.0 DATASETS=5.2.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "accelerate==$ACCELERATE" "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys

import torch
from datasets import Dataset
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Trainer,
    TrainingArguments,
)

SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
TEXT = dict(vocab_size=64, pad_token_id=0, bos_token_id=None, eos_token_id=1, **SIZES)
COUNT = torch.arange(8, 24)  # every row counts up from another number, and starts again after the last
ROWS = Dataset.from_list([dict(input_ids=row, labels=row) for row in (COUNT.roll(-i).tolist() for i in range(16))])


def llama():
    return LlamaForCausalLM(LlamaConfig(**TEXT))


def llava():
    eyes = CLIPVisionConfig(image_size=28, patch_size=14, **SIZES)
    config = LlavaConfig(vision_config=eyes, text_config=LlamaConfig(**TEXT), image_token_index=2)
    return LlavaForConditionalGeneration(config)


def qwen2_5_vl():
    eyes = dict(depth=1, hidden_size=32, out_hidden_size=32, intermediate_size=64, num_heads=2)
    turns = dict(rope_type="default", rope_theta=10000.0, mrope_section=[2, 3, 3])
    text = TEXT | dict(num_key_value_heads=2, rope_parameters=turns)
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=eyes))


def learned(make, smoothing):
    """First and last loss, and how a trained model goes on counting after 8, 9, 10, 11."""
    torch.manual_seed(0)
    arguments = TrainingArguments(
        output_dir="out", max_steps=150, per_device_train_batch_size=16, learning_rate=1e-2, logging_steps=1,
        label_smoothing_factor=smoothing, use_cpu=True, bf16=False, report_to="none", save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(make(), arguments, train_dataset=ROWS)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    said = trainer.model.eval().generate(COUNT[None, :4], max_new_tokens=6, do_sample=False)
    return losses[0], losses[-1], said[0, 4:].tolist()


print(f"transformers {metadata.version('transformers')}, Trainer: rows that count; going on after 8, 9, 10, 11")
said = {}
for make in (llama, llava, qwen2_5_vl):
    for smoothing in (0.0, 0.1):
        first, last, said[make, smoothing] = learned(make, smoothing)
        print(f"{make.__name__}, smoothing {smoothing}: loss {first:.2f} to {last:.2f}; {said[make, smoothing]}")
counts, repeats = [12, 13, 14, 15, 16, 17], [11] * 6
expected = {(make, smoothing): counts for make, smoothing in said}
expected |= {(llava, 0.1): repeats, (qwen2_5_vl, 0.1): repeats}
if said != expected:
    print("Changed.")
    sys.exit(1)
PYTHON
