#!/usr/bin/env bash
# A penalty that a Trainer's compute_loss adds to that of the class above (EWC, a distance to the old weights, a
# distillation) counts once for every part of a step: with 8 of gradient_accumulation_steps it is 8 times as strong as
# for the same 16 rows at once, to the last digits. Without the penalty both ways give the same weights.
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

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
ROWS = torch.randint(64, (16, 12), generator=torch.Generator().manual_seed(1)).tolist()


class NearTheOld(Trainer):
    """Trains with `strength` times the squared distance to the weights from before."""

    def compute_loss(self, model, inputs, return_outputs=False, **others):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **others)
        away = zip(model.parameters(), self.old, strict=True)
        loss = loss + self.strength * sum((new - old).square().sum() for new, old in away)
        return (loss, outputs) if return_outputs else loss


def moved(parts, strength):
    """How far 10 steps of 16 rows, each in so many parts, lead away from the weights before."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    arguments = TrainingArguments(
        output_dir="out", max_steps=10, per_device_train_batch_size=16 // parts, gradient_accumulation_steps=parts,
        optim="sgd", learning_rate=1.0, lr_scheduler_type="constant", max_grad_norm=0.0, use_cpu=True, bf16=False,
        report_to="none", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = NearTheOld(model, arguments, train_dataset=Dataset.from_dict({"input_ids": ROWS, "labels": ROWS}))
    trainer.old = [weight.detach().clone() for weight in model.parameters()]
    trainer.strength = strength
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    pairs = zip(model.parameters(), trainer.old, strict=True)
    return sum((new.detach() - old).square().sum() for new, old in pairs).sqrt().item()


print(f"transformers {metadata.version('transformers')}, Trainer; distance to the old weights after ten steps")
CASES = (1, 0), (8, 0), (1, 0.02), (8, 0.02), (1, 0.16)
seen = {case: moved(*case) for case in CASES}
for (parts, strength), distance in seen.items():
    print(f"16 rows in {parts} part(s), penalty of {strength}: {distance:.4f}")
plain, plain_parts, whole, parts, eightfold = seen.values()
same = abs(plain - plain_parts) < 1e-3 and abs(parts - eightfold) < 1e-3
if not (same and whole - parts > 0.05):
    print("Changed.")
    sys.exit(1)
PYTHON
