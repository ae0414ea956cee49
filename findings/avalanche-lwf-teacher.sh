#!/usr/bin/env bash
# The teacher of Avalanche's LwF, the model of before the new task, is a copy in training mode, and stays so: with
# dropout it says something else at every look and is worse than the model was; with batch norm it goes by the
# statistics of the new task's batches, and gathers them. A model that has not moved has a penalty then, and should not.
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
from avalanche.training.plugins import EvaluationPlugin, LwFPlugin
from avalanche.training.supervised import Naive
from torch import nn

LAYERS = {"plain": nn.Identity(), "dropout": nn.Dropout(0.5), "batch norm": nn.BatchNorm1d(32)}


def task(seed, shift):
    """512 rows of two tasks: other inputs and other classes for them."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(512, 10, generator=generator) + shift
    return rows, (rows @ torch.randn(10, 3, generator=generator)).argmax(1)


def taught(layer):
    """The first task's accuracy, that of the teacher, the penalty of an unmoved model, and if the teacher is kept."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32), layer, nn.ReLU(), nn.Linear(32, 3))
    lwf = LwFPlugin(alpha=1, temperature=2)
    strategy = Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), criterion=nn.CrossEntropyLoss(),
        train_mb_size=64, train_epochs=20, plugins=[lwf], evaluator=EvaluationPlugin(),
    )  # fmt: skip
    (rows, classes), (new_rows, _) = tasks = task(1, 0.0), task(2, 2.0)
    first, second = tensors_benchmark(tasks, tasks, task_labels=[0, 0]).train_stream
    with contextlib.redirect_stdout(io.StringIO()):
        strategy.train(first)
    teacher = lwf.lwf.prev_model
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    model.eval()
    with torch.no_grad():
        right, taught = ((part(rows).argmax(1) == classes).float().mean().item() for part in (model, teacher))
        penalty = lwf.lwf(new_rows, model(new_rows), model).item()
    teacher.load_state_dict(before)
    with contextlib.redirect_stdout(io.StringIO()):
        strategy.train(second)
    kept = all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    return right, taught, penalty, kept


print(f"avalanche-lib {metadata.version('avalanche-lib')}, torch {torch.__version__}; LwF after a first task")
seen = {name: taught(layer) for name, layer in LAYERS.items()}
for name, (right, teacher, penalty, kept) in seen.items():
    state = "as it was" if kept else "another"
    print(
        f"{name}: accuracy {right:.1%}, as a teacher {teacher:.1%}; penalty of the same model {penalty:.4f}; "
        f"after the second task the teacher is {state}"
    )
plain, dropout, norm = seen.values()
if not (plain[2] < 1e-6 and plain[3] and dropout[1] < dropout[0] - 0.02 and norm[2] > 0.05 and not norm[3]):
    print("Changed.")
    sys.exit(1)
PYTHON
