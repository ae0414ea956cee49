#!/usr/bin/env bash
# Trainer's bf16=True is mixed precision over float32 weights only where these are float32. transformers 5 loads a
# checkpoint in the type that it is stored in, most are bfloat16, and then the weights themselves are trained in it: at
# 1e-6, a common rate of RL, 50 steps move 2 % of them (float32: all), and the whole update is a tenth as long. The
# loss looks the same for a while, and updates look sparse.
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
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.utils import logging

logging.disable_progress_bar()
torch.manual_seed(0)
SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2)
LlamaForCausalLM(LlamaConfig(**SIZES)).to(torch.bfloat16).save_pretrained("model")
ROWS = torch.randint(64, (32, 12), generator=torch.Generator().manual_seed(1)).tolist()


def train(rate, **loading):
    """The type of the weights, the share of them that moves, and the length of the whole update."""
    model = LlamaForCausalLM.from_pretrained("model", **loading)
    before = [weight.detach().float().clone() for weight in model.parameters()]
    arguments = TrainingArguments(
        output_dir="out", max_steps=50, per_device_train_batch_size=4, learning_rate=rate, bf16=True, use_cpu=True,
        lr_scheduler_type="constant", report_to="none", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    rows = Dataset.from_dict({"input_ids": ROWS, "labels": ROWS})
    with contextlib.redirect_stdout(io.StringIO()):
        Trainer(model, arguments, train_dataset=rows).train()
    pairs = zip(model.parameters(), before, strict=True)
    update = torch.cat([(new.detach().float() - old).flatten() for new, old in pairs])
    return model.dtype, (update != 0).float().mean().item(), update.norm().item()


print(f"transformers {metadata.version('transformers')}, a bfloat16 checkpoint, Trainer with bf16=True, 50 steps")
seen = {}
for rate in (1e-6, 1e-5):
    for loading in ({}, {"dtype": torch.float32}):
        seen[rate, bool(loading)] = dtype, share, length = train(rate, **loading)
        print(
            f"rate {rate}, from_pretrained({'dtype=torch.float32' if loading else ''}): weights in {dtype}, "
            f"{share:.1%} of them moved, the update is {length:.5f} long"
        )
loaded, exact = seen[1e-6, False], seen[1e-6, True]
if not (loaded[0] == torch.bfloat16 and loaded[1] < 0.05 and exact[1] > 0.95 and loaded[2] < exact[2] / 5):
    print("Changed.")
    sys.exit(1)
PYTHON
