#!/usr/bin/env bash
# With 8 of gradient_accumulation_steps transformers' Trainer takes gradients 8 times as large as for the same 16 rows at
# once, and logs 8 times the loss, for BLIP, TrOCR, T5, BART and others whose forward takes any keyword and forgets it:
# Trainer hands them the number of tokens, takes the loss for one that is divided by it, and does not divide by the
# parts. For a Llama both ways are the same. (Clipping at 1, which is the default, hides it in the weights.)
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
    BlipConfig,
    BlipForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainingArguments,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
PICTURE = SIZES | dict(image_size=28, patch_size=14)
STILL = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
draw = torch.Generator().manual_seed(1)
TOKENS = torch.randint(10, 64, (16, 12), generator=draw).tolist()
PIXELS = torch.randn(16, 3, 28, 28, generator=draw).tolist()
TEXT = Dataset.from_dict(dict(input_ids=TOKENS, labels=TOKENS))


def llama():
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, **SIZES)), TEXT


def t5():
    sizes = dict(vocab_size=64, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    return T5ForConditionalGeneration(T5Config(**sizes, dropout_rate=0.0, decoder_start_token_id=0)), TEXT


def blip():
    text = dict(vocab_size=64, encoder_hidden_size=32, projection_dim=32, **SIZES, **STILL)
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=PICTURE, projection_dim=32))
    rows = dict(pixel_values=PIXELS, input_ids=TOKENS, labels=TOKENS)
    return model, Dataset.from_dict(rows).with_format("torch")


def trocr():
    sizes = dict(d_model=32, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64)
    words = TrOCRConfig(vocab_size=64, dropout=0.0, cross_attention_hidden_size=32, **sizes)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**PICTURE, **STILL), words)
    config.decoder_start_token_id, config.pad_token_id = 1, 0
    rows = dict(pixel_values=PIXELS, labels=TOKENS)
    return VisionEncoderDecoderModel(config=config), Dataset.from_dict(rows).with_format("torch")


def first_step(make, parts):
    """The loss and the norm of the gradient that Trainer logs for a step of 16 rows in so many parts."""
    torch.manual_seed(0)
    model, rows = make()
    arguments = TrainingArguments(
        output_dir="out", max_steps=1, per_device_train_batch_size=16 // parts, gradient_accumulation_steps=parts,
        logging_steps=1, use_cpu=True, bf16=False, report_to="none", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=rows)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    return trainer.state.log_history[0]["loss"], trainer.state.log_history[0]["grad_norm"]


print(f"transformers {metadata.version('transformers')}, Trainer: a step of 16 rows, at once and in 8 parts")
times = {}
for make in (llama, t5, blip, trocr):
    whole, parts = first_step(make, 1), first_step(make, 8)
    times[make] = parts[0] / whole[0], parts[1] / whole[1]
    print(f"{make.__name__}: loss {whole[0]:.3f} and {parts[0]:.3f}, gradient {whole[1]:.3f} and {parts[1]:.3f}")
others = [value for make in (t5, blip, trocr) for value in times[make]]
if not (max(times[llama]) < 1.01 and all(7.9 < value < 8.1 for value in others)):
    print("Changed.")
    sys.exit(1)
PYTHON
