#!/usr/bin/env bash
# A Trainer with lr_scheduler_type="constant" and warmup_steps=10 takes its first step at the whole rate: the warm-up is
# dropped without a word, a share of the steps (0.5), too. Every other schedule begins at 0. So a sweep of schedules
# with one warm-up compares runs that have one to runs that have none, and with Adam the first steps, whose moments are
# still of one batch, are taken at full length: after five the weights have moved 6 times as far. warmup_steps is the
# "Number of steps for a linear warmup from 0" in the documentation, without an exception. (constant_with_warmup warms.)
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
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import contextlib
import importlib.metadata as metadata
import io
import sys
from pathlib import Path

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
ROWS = torch.randint(64, (64, 8), generator=torch.Generator().manual_seed(1)).tolist()
RATE, STEPS = 1e-3, 20


class Steps(TrainerCallback):
    """The rate of each step, and how far the weights have moved after five."""

    def __init__(self, model):
        self.model, self.rates, self.moved = model, [], None
        self.start = self.flat()

    def flat(self):
        return torch.cat([weight.detach().flatten().clone() for weight in self.model.parameters()])

    def on_pre_optimizer_step(self, arguments, state, control, optimizer=None, **given):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_step_end(self, arguments, state, control, **given):
        if state.global_step == 5:
            self.moved = (self.flat() - self.start).norm().item()


def trained(schedule, warm_up):
    set_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    steps = Steps(model)
    arguments = TrainingArguments(
        output_dir="out", use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, max_steps=STEPS,
        learning_rate=RATE, lr_scheduler_type=schedule, warmup_steps=warm_up,
    )  # fmt: skip
    data = Dataset.from_dict({"input_ids": ROWS, "labels": ROWS})
    with contextlib.redirect_stdout(io.StringIO()):
        Trainer(model, arguments, train_dataset=data, callbacks=[steps]).train()
    return [round(rate / RATE, 2) for rate in steps.rates], steps.moved


print(f"transformers {metadata.version('transformers')}, {STEPS} steps; rates of steps 1, 6 and 11, of the whole")
seen = {}
for schedule in ("linear", "cosine", "constant_with_warmup", "constant"):
    for warm_up in (10, 0.5):
        rates, moved = seen[schedule, warm_up] = trained(schedule, warm_up)
        print(f"{schedule}, warmup_steps={warm_up}: {rates[0], rates[5], rates[10]}, moved {moved:.2f} after 5 steps")
warned = "warm" in Path("log.txt").read_text().lower()
print(f"a word of it: {warned}")
asked = [found for (schedule, _), found in seen.items() if schedule != "constant"]
dropped = [seen["constant", warm_up] for warm_up in (10, 0.5)]
if not (
    all((rates[0], rates[5], rates[10]) == (0, 0.5, 1) for rates, _ in asked)
    and all(set(rates) == {1} for rates, _ in dropped)
    and dropped[0][1] > 3 * seen["constant_with_warmup", 10][1]
    and not warned
):
    print("Changed.")
    sys.exit(1)
PYTHON
