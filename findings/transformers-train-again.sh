#!/usr/bin/env bash
# A second train() of one Trainer (transformers 5.23.0), with the next task's rows, begins anew with steps, epochs and
# learning rate, but goes on with AdamW's moments of the first task. So the second task's training moves the embeddings
# of the first task's words, which are in none of its rows, and the weights end elsewhere (0.25 apart, where the same
# task with a Trainer of its own moves them by 0.30 and those embeddings not at all). No setting and no log tells which
# of the two it was.
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
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
ARGUMENTS = TrainingArguments(
    output_dir="out", num_train_epochs=1, per_device_train_batch_size=8, learning_rate=1e-3, logging_steps=1,
    use_cpu=True, bf16=False, report_to="none", save_strategy="no", disable_tqdm=True,
)  # fmt: skip


def task(begin):
    """Rows of tokens of the task's own 32."""
    rows = torch.randint(begin, begin + 32, (64, 12), generator=torch.Generator().manual_seed(begin)).tolist()
    return Dataset.from_dict({"input_ids": rows, "labels": rows})


def weights(model):
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def train(trainer, rows):
    trainer.train_dataset = rows
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()


first, second = task(0), task(32)
print(f"transformers {metadata.version('transformers')}; two tasks of {len(first)} rows, an epoch each")
seen, ends = [], []
for name in ("the same Trainer", "a Trainer of its own"):
    set_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    trainer = Trainer(model, ARGUMENTS, train_dataset=first)
    train(trainer, first)
    if name == "a Trainer of its own":
        trainer = Trainer(model, ARGUMENTS, train_dataset=second)
    between, words = weights(model), model.get_input_embeddings().weight[:32].detach().clone()
    train(trainer, second)
    moved = int((model.get_input_embeddings().weight[:32] != words).any(dim=1).sum())
    rate = next(entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry)
    steps = {int(state["step"]) for state in trainer.optimizer.state_dict()["state"].values()}
    seen.append((trainer.state.global_step, rate, steps, moved))
    ends.append(weights(model) - between)
    print(f"The second task with {name}: {seen[-1][0]} steps from a rate of {rate}, in AdamW {steps}; ", end="")
    print(f"of the first task's 32 embeddings {moved} moved; all weights by {ends[-1].norm():.2f}")
apart = (ends[0] - ends[1]).norm().item()
print(f"Between the two ends: {apart:.2f}")
if not (seen == [(8, 1e-3, {16}, 32), (8, 1e-3, {8}, 0)] and apart > 0.1):
    print("Changed.")
    sys.exit(1)
PYTHON
