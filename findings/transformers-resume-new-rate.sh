#!/usr/bin/env bash
# Of new settings for a training that is taken up again, transformers' Trainer heeds some: resume_from_checkpoint brings
# back the old learning_rate, weight_decay and betas, whatever the arguments say now, and the new scheduler, warm-up
# and max_steps count, at the old rate. A rate lowered a hundredfold for the rest is not lowered, and nothing says so.
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
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import logging
import sys
import warnings

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.utils.logging import disable_progress_bar

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
ROWS = torch.randint(64, (64, 12), generator=torch.Generator().manual_seed(1)).tolist()
LOWER = dict(learning_rate=1e-5, weight_decay=0.1, adam_beta2=0.95)
LINEAR = dict(lr_scheduler_type="linear")

disable_progress_bar()
words = []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: words.append(record.getMessage())
logging.getLogger("transformers").addHandler(handler)


def train(resume=None, **settings):
    """The rate of each step, and the optimiser's decay and second beta in the end."""
    torch.manual_seed(0)
    settings = dict(learning_rate=1e-3, weight_decay=0.0, lr_scheduler_type="constant", max_steps=20) | settings
    arguments = TrainingArguments(
        output_dir="resumed" if resume else "first", per_device_train_batch_size=8, save_steps=10, logging_steps=1,
        use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, **settings,
    )  # fmt: skip
    trainer = Trainer(
        LlamaForCausalLM(LlamaConfig(**SIZES)),
        arguments,
        train_dataset=Dataset.from_dict({"input_ids": ROWS, "labels": ROWS}),
    )
    words.clear()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train(resume_from_checkpoint=resume)
    group = trainer.optimizer.param_groups[0]
    rates = {entry["step"]: entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry}
    return rates, group["weight_decay"], group["betas"][1], len(words) + len(caught)


print(f"transformers {metadata.version('transformers')}; 10 steps at 1e-3, no decay, constant rate; taken up with:")
train()
seen = []
for settings in (LOWER, LOWER | LINEAR, LOWER | LINEAR | dict(max_steps=40)):
    rates, decay, beta, told = train("first/checkpoint-10", **settings)
    seen.append((rates[12], decay, beta, told))
    print(f"{settings}:\n  rate of step 12 {rates[12]:.2e}, decay {decay}, beta2 {beta}; warnings: {told}")
expected = [(rate * 1e-3, 0.0, 0.999, 0) for rate in (1, 9 / 20, 29 / 40)]
if any(abs(one[0] - other[0]) > 1e-8 or one[1:] != other[1:] for one, other in zip(seen, expected, strict=True)):
    print("Changed.")
    sys.exit(1)
PYTHON
