#!/usr/bin/env bash
# The importance of a weight in Avalanche's EWC is the square of a batch's gradient, where EWC has the mean of the
# squares of single rows': what rows disagree on cancels out before it is squared, and with a train_mb_size of 64 the
# importances are a 55th here. The ewc_lambda that keeps the first task with one batch size forgets it with another.
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
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin
from avalanche.training.supervised import Naive
from torch import nn


def task(seed):
    """512 rows of noisy classes, other ones for every task."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(512, 10, generator=generator)
    noise = torch.randn(512, 3, generator=generator)
    return rows, (rows @ torch.randn(10, 3, generator=generator) + noise).argmax(1)


def squares(model, rows, classes):
    """The sum of the mean squared gradients of single rows: the diagonal that EWC is defined by."""
    total = 0.0
    for row, label in zip(rows, classes, strict=True):
        loss = nn.functional.cross_entropy(model(row[None]), label[None])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        total += sum(gradient.square().sum().item() for gradient in gradients)
    return total / len(rows)


def learned(batch):
    """The sum of all importances by batches of this size, that of single rows, accuracies at first and in the end."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 3))
    ewc = EWCPlugin(ewc_lambda=100)
    strategy = Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.01), criterion=nn.CrossEntropyLoss(),
        train_mb_size=64, train_epochs=100, plugins=[ewc], evaluator=EvaluationPlugin(),
    )  # fmt: skip
    tasks = task(1), task(2)
    first, second = tensors_benchmark(tasks, tasks, task_labels=[0, 0]).train_stream

    def right():
        return [(model(rows).argmax(1) == classes).float().mean().item() for rows, classes in tasks]

    with contextlib.redirect_stdout(io.StringIO()):
        strategy.train(first)
        before = right()[0]
        # the steps of training are of 64 rows in any case, only the importances are not
        ewc.importances[0] = ewc.compute_importances(
            model, nn.CrossEntropyLoss(), strategy.optimizer, first.dataset, "cpu", batch
        )
        total = sum(importance.data.sum().item() for importance in ewc.importances[0].values())
        by_rows = squares(model, *tasks[0])
        strategy.train(second)
    return total, by_rows, before, *right()


print(f"avalanche-lib {metadata.version('avalanche-lib')}, torch {torch.__version__}; EWC with ewc_lambda=100")
seen = {batch: learned(batch) for batch in (1, 8, 64)}
for batch, (total, by_rows, before, after, new) in seen.items():
    print(
        f"importances by batches of {batch}: {total / by_rows:.3f} of those by rows; first task {before:.1%}, "
        f"after the second {after:.1%}; second task {new:.1%}"
    )
one, _, many = seen.values()
if not (abs(one[0] / one[1] - 1) < 0.01 and many[0] < one[0] / 40 and many[3] < one[3] - 0.1):
    print("Changed.")
    sys.exit(1)
PYTHON
