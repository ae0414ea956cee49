#!/usr/bin/env bash
# Trainer's reduce_lr_on_plateau with metric_for_best_model="accuracy": greater_is_better becomes True by itself, the
# best checkpoint is the most accurate one, and the schedule is not told. It waits for the accuracy to fall: a model
# that gets better at every evaluation has its rate cut to a thousandth, and one that gets worse keeps its whole rate
# to the end. Only lr_scheduler_kwargs={"mode": "max"} changes that. Nothing is said.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 ACCELERATE=1.15.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "accelerate==$ACCELERATE"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

EVALUATIONS, RATE = 12, 1e-3
sizes = dict(vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
rows = [{"input_ids": [2, 3, 4, 5], "labels": [2, 3, 4, 5]}] * EVALUATIONS


def train(accuracies, **of_schedule):
    """The rate after each evaluation, and what the arguments say of the metric; one step before each evaluation."""
    rates, left = [], iter(accuracies)

    class Watched(Trainer):
        def log(self, logs, *args, **named):
            if "eval_accuracy" in logs:
                rates.append(self.optimizer.param_groups[0]["lr"])

    torch.manual_seed(0)
    trainer = Watched(
        LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0)),
        TrainingArguments(
            "out", max_steps=EVALUATIONS, per_device_train_batch_size=1, learning_rate=RATE,
            eval_strategy="steps", eval_steps=1, save_strategy="no", report_to="none", use_cpu=True,
            lr_scheduler_type="reduce_lr_on_plateau", metric_for_best_model="accuracy",
            lr_scheduler_kwargs={"patience": 2, **of_schedule},
        ),
        train_dataset=rows,
        eval_dataset=rows[:1],
        compute_metrics=lambda _: {"accuracy": next(left)},
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.train()
    # the last evaluation's step of the schedule comes after its log
    return [*rates, trainer.optimizer.param_groups[0]["lr"]], trainer.args.greater_is_better


versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("transformers", "torch"))
print(f"{versions}; {EVALUATIONS} evaluations, patience 2, rate {RATE}")
better = [0.50 + 0.02 * i for i in range(EVALUATIONS)]
worse = [0.90 - 0.05 * i for i in range(EVALUATIONS)]
seen = {}
for name, accuracies, of_schedule in (
    ("better", better, {}),
    ("worse", worse, {}),
    ("better, mode max", better, {"mode": "max"}),
):
    rates, greater = train(accuracies, **of_schedule)
    seen[name] = rates[-1]
    course = " ".join(f"{rate:.0e}" for rate in rates[1:])
    print(f"{name}: accuracy {accuracies[0]:.2f} to {accuracies[-1]:.2f}; greater_is_better={greater}; rates {course}")
if not (seen["better"] < RATE / 900 and seen["worse"] == RATE and seen["better, mode max"] == RATE and greater):
    print("Changed.")
    sys.exit(1)
PYTHON
