#!/usr/bin/env bash
# When memory runs out, Trainer with auto_find_batch_size begins anew in smaller batches, and the model does not: it
# keeps what it has learned till then, and AdamW its moments, while steps, learning rate and log begin at 0. So one long
# row has rows before it trained two and three times in one epoch, at full rate each time; the log shows one epoch,
# which begins with a loss that is none of an untrained model. Another card gives another training.
# (Here a model runs out of memory as a card does, from a certain number of tokens on.)
# Exits with 0 while that is so. Takes about 1.3 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.24.0 ACCELERATE=1.15.0 DATASETS=5.2.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "accelerate==$ACCELERATE" "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import collections
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
ROWS = torch.randint(64, (64, 24), generator=torch.Generator().manual_seed(1)).tolist()
TOKENS = 150  # what the card has room for
LONG = 11  # of all rows this one alone is not half as long


class CardForCausalLM(LlamaForCausalLM):
    trained = None

    def forward(self, input_ids=None, labels=None, **others):
        if input_ids.numel() > TOKENS:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.trained.update(tuple(row[:12]) for row in input_ids.tolist())
        return super().forward(input_ids=input_ids, labels=labels, **others)


def collate(rows):
    width = max(len(row["labels"]) for row in rows)
    return {
        "input_ids": torch.tensor([row["input_ids"] + [0] * (width - len(row["labels"])) for row in rows]),
        "labels": torch.tensor([row["labels"] + [-100] * (width - len(row["labels"])) for row in rows]),
    }


def train(batch, find):
    """An epoch: batch size, steps and first loss of the log, AdamW's steps, and how often rows were trained."""
    rows = [row if number == LONG else row[:12] for number, row in enumerate(ROWS)]
    set_seed(3)
    model = CardForCausalLM(LlamaConfig(**SIZES))
    model.trained = collections.Counter()
    arguments = TrainingArguments(
        output_dir="out", num_train_epochs=1, per_device_train_batch_size=batch, auto_find_batch_size=find, seed=3,
        learning_rate=1e-2, logging_steps=1, use_cpu=True, bf16=False, report_to="none", save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    data = Dataset.from_dict({"input_ids": rows, "labels": rows})
    trainer = Trainer(model, arguments, train_dataset=data, data_collator=collate)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    steps = {int(state["step"]) for state in trainer.optimizer.state_dict()["state"].values()}
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    times = collections.Counter(model.trained.values())
    size, done = trainer._train_batch_size, trainer.state.global_step
    return size, done, round(losses[0], 2), steps, dict(sorted(times.items()))


print(f"transformers {metadata.version('transformers')}, one epoch of {len(ROWS)} rows")
seen = []
for name, batch, find in (("found, from 8 on", 8, True), ("set", None, False)):
    seen.append(train(batch or seen[0][0], find))
    size, steps, loss, counted, times = seen[-1]
    told = ", ".join(f"{rows} rows trained {count} time{'s' * (count > 1)}" for count, rows in times.items())
    print(f"a batch size of {size} that was {name}: {told};")
    print(f"  {steps} steps in the log, which begins with a loss of {loss}; in AdamW {counted}")
found, fixed = seen
good = fixed[3] == {fixed[1]} and fixed[4] == {1: len(ROWS)}
again = min(found[3]) > found[1] and max(found[4]) > 1 and found[2] < fixed[2] - 0.1
if not (good and again and found[:2] == fixed[:2]):
    print("Changed.")
    sys.exit(1)
PYTHON
