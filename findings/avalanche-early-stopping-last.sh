#!/usr/bin/env bash
# Avalanche's EarlyStoppingPlugin says "After training, the best model's checkpoint is loaded". It is loaded only if
# the patience runs out: where the epochs end first, the model is that of the last one, however bad. With ten epochs at
# a patience of ten the validation loss is 0.68 after the second epoch and 1.43 at the end, and 1.43 is what is left; if
# twenty are asked for, training stops after the twelfth, and 0.68 is there. Nothing is said, and the best model is gone
# unless it is taken out of the plugin. (What the last epoch gives is never looked at, even where it is the best.)
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
from avalanche.evaluation.metrics import loss_metrics
from avalanche.training.plugins import EarlyStoppingPlugin, EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import nn

PATIENCE = 10


def task(seed, count, wrong):
    """Rows of two classes, of which a share bears the other one's name."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, 50, generator=generator)
    classes = (rows[:, 0] + rows[:, 1] > 0).long()
    return rows, torch.where(torch.rand(count, generator=generator) < wrong, 1 - classes, classes)


def trained(epochs):
    """The validation loss at best and that of the model that is left, and the epochs that were run."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 256), nn.ReLU(), nn.Linear(256, 2))
    rows, classes = held_out = task(2, 2000, 0.0)
    benchmark = tensors_benchmark([task(1, 200, 0.35)], [held_out], task_labels=[0])
    stopping = EarlyStoppingPlugin(PATIENCE, "test_stream", metric_name="Loss_Stream", mode="min")
    strategy = Naive(
        model=model, optimizer=torch.optim.Adam(model.parameters(), lr=1e-2), criterion=nn.CrossEntropyLoss(),
        train_mb_size=16, train_epochs=epochs, eval_every=1, plugins=[stopping],
        evaluator=EvaluationPlugin(loss_metrics(stream=True), loggers=[]),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        strategy.train(benchmark.train_stream[0], eval_streams=[benchmark.test_stream])
    with torch.no_grad():
        left = nn.functional.cross_entropy(model(rows), classes).item()
    return float(stopping.best_val), left, strategy.clock.train_exp_epochs


print(f"avalanche-lib {metadata.version('avalanche-lib')}, patience {PATIENCE}; validation loss")
seen = {}
for epochs in (PATIENCE, 2 * PATIENCE):
    best, left, ran = seen[epochs] = trained(epochs)
    print(f"{epochs} epochs, {ran} run: best {best:.2f}, the model left {left:.2f}")
(best, left, _), (again, loaded, ran) = seen.values()
said = "After training, the best model's checkpoint is loaded" in EarlyStoppingPlugin.__doc__
if not (said and best == again and left > 1.5 * best and abs(loaded - again) < 1e-4 and ran < 2 * PATIENCE):
    print("Changed.")
    sys.exit(1)
PYTHON
