#!/usr/bin/env bash
# Avalanche's RWalk puts the model into evaluation mode before every step, to take its importances, and not back: with
# RWalkPlugin each training step is one of an evaluation. Dropout drops nothing, and batch norm never sees a batch, so
# that neither regularises nor normalises, and a comparison with EWC or plain training is one of two other models.
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

import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, MASPlugin, RWalkPlugin
from avalanche.training.supervised import Naive
from torch import nn


class Modes(SupervisedPlugin):
    """Writes down of every training step whether the model was in training mode, and what its dropout left out."""

    def __init__(self):
        super().__init__()
        self.training, self.dropped = [], []

    def before_forward(self, strategy, **_):
        self.training.append(strategy.model.training)

    def after_forward(self, strategy, **_):
        self.dropped.append(strategy.model.dropped)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Sigmoid())
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(32, 4)

    def forward(self, rows):
        kept = self.dropout(self.body(rows))
        self.dropped = (kept == 0).float().mean().item()
        return self.head(kept)


def trained(plugins):
    """The shares of steps in training mode and of units dropped, and how many batches the batch norm has seen."""
    torch.manual_seed(0)
    tasks = [(torch.randn(256, 16), torch.randint(0, 4, (256,))) for _ in range(2)]
    model, modes = Model(), Modes()
    strategy = Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), criterion=nn.CrossEntropyLoss(),
        train_mb_size=32, train_epochs=5, plugins=[*plugins, modes], evaluator=EvaluationPlugin(),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        for experience in tensors_benchmark(tasks, tasks, task_labels=[0, 0]).train_stream:
            strategy.train(experience)
    steps = len(modes.training)
    return sum(modes.training) / steps, round(sum(modes.dropped) / steps, 1), int(model.body[1].num_batches_tracked)


ways = {"plain": [], "EWC": [EWCPlugin(ewc_lambda=1)], "MAS": [MASPlugin()], "RWalk": [RWalkPlugin()]}
seen = {name: trained(plugins) for name, plugins in ways.items()}
print(f"avalanche-lib {metadata.version('avalanche-lib')}, 80 steps of two tasks, a dropout of 0.5")
for name, (training, dropped, batches) in seen.items():
    print(f"{name}: steps in training mode {training:.0%}, dropped {dropped:.0%}; batch norm has seen {batches} batches")
others = [seen[name] for name in ways if name != "RWalk"]
if not (seen["RWalk"] == (0, 0, 0) and all(other[:2] == (1, 0.5) and other[2] >= 80 for other in others)):
    print("Changed.")
    sys.exit(1)
PYTHON
