#!/usr/bin/env bash
# Avalanche's LRSchedulerPlugin begins a schedule anew for every task: it sets the rate back to the full one and the
# schedule's count to 0. A warm-up of torch, LinearLR or ConstantLR, multiplies the rate that it finds, and finds the
# full one instead of a tenth of it: the second task warms up from 0.1 to 1.0, ten times the rate that was asked for, and
# every later task too. A warm-up by LambdaLR ends at the right rate and begins with one full-rate epoch. No warning.
# Exits with 0 while that is so. Takes about 7 GB and the package index; Holdfast has no part in it.
set -euo pipefail
AVALANCHE=0.6.0 TORCH=2.14.1 TORCHVISION=0.29.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "torchvision==$TORCHVISION" "avalanche-lib==$AVALANCHE"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys
import warnings

import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin
from avalanche.training.supervised import Naive
from torch import nn
from torch.optim import lr_scheduler

RATE, EPOCHS = 0.1, 5
warm_ups = {
    "LinearLR": lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=4),
    "ConstantLR": lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=0.1, total_iters=2),
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: min(1.0, 0.1 + 0.225 * epoch)),
}


class Rates(SupervisedPlugin):
    """Writes down the rate of every epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def before_training_epoch(self, strategy, **_):
        self.seen.append(round(strategy.optimizer.param_groups[0]["lr"], 4))


def rates(warm_up):
    """The rates of two tasks, epoch by epoch."""
    torch.manual_seed(0)
    tasks = [(torch.randn(64, 8), torch.randint(0, 2, (64,))) for _ in range(2)]
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    seen = Rates()
    strategy = Naive(
        model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), train_mb_size=32, train_epochs=EPOCHS,
        plugins=[LRSchedulerPlugin(warm_up(optimizer)), seen], evaluator=EvaluationPlugin(),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        for experience in tensors_benchmark(tasks, tasks, task_labels=[0, 0]).train_stream:
            strategy.train(experience)
    return seen.seen[:EPOCHS], seen.seen[EPOCHS:]


print(f"avalanche-lib {metadata.version('avalanche-lib')}, torch {metadata.version('torch')}; a rate of {RATE}")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen = {name: rates(warm_up) for name, warm_up in warm_ups.items()}
for name, (first, second) in seen.items():
    print(f"{name}: first task {first}, second task {second}")
about_it = [warning for warning in caught if "lr_scheduler" in str(warning.message)]
print(f"warnings of it: {len(about_it)}")
expected = {
    "LinearLR": ([0.01, 0.0325, 0.055, 0.0775, 0.1], [0.1, 0.325, 0.55, 0.775, 1.0]),
    "ConstantLR": ([0.01, 0.01, 0.1, 0.1, 0.1], [0.1, 0.1, 1.0, 1.0, 1.0]),
    "LambdaLR": ([0.01, 0.0325, 0.055, 0.0775, 0.1], [0.1, 0.0325, 0.055, 0.0775, 0.1]),
}
if seen != expected or about_it:
    print("Changed.")
    sys.exit(1)
PYTHON
