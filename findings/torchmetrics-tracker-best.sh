#!/usr/bin/env bash
# MetricTracker of torchmetrics keeps a MetricCollection over epochs and gives the best value of each metric; maximize
# is a list of whether more is better. A collection made from a dict sorts its metrics by name, and the list is counted
# by that order: with {"loss": ..., "accuracy": ...} and maximize=[False, True] the best accuracy is the lowest, 0.902
# of 0.902, 0.995 and 0.97, of the first epoch, and the best loss the highest. A collection made from a list keeps its
# order. The documentation says "list of bool" and not in which order.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCHMETRICS=1.9.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torchmetrics==$TORCHMETRICS" "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.regression import MeanSquaredError, R2Score

EPOCHS = (0.9, 0.2, 0.5)  # by how much the answers are wrong
TRUTH = torch.arange(10.0)
SIGNS = torch.tensor([1.0, -1.0] * 5)


def tracked(collection):
    """The errors and the R2 of all epochs, and of both the best epoch, where less error and more R2 is better."""
    tracker = MetricTracker(collection, maximize=[False, True])
    for wrong in EPOCHS:
        tracker.increment()
        tracker.update(TRUTH + wrong * SIGNS, TRUTH)
    values = {name: [round(value, 3) for value in found.tolist()] for name, found in tracker.compute_all().items()}
    best, epochs = tracker.best_metric(return_step=True)
    return values, {name: (round(value, 3), epochs[name]) for name, value in best.items()}


print(f"torchmetrics {metadata.version('torchmetrics')}, maximize=[False, True]")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen = {
        "list": tracked(MetricCollection([MeanSquaredError(), R2Score()])),
        "dict": tracked(MetricCollection({"loss": MeanSquaredError(), "accuracy": R2Score()})),
    }
for name, (values, best) in seen.items():
    print(f"collection from a {name}: {values}, best and its epoch {best}; warnings: {len(caught)}")
told = {
    "list": {"MeanSquaredError": (0.04, 1), "R2Score": (0.995, 1)},
    "dict": {"accuracy": (0.902, 0), "loss": (0.81, 0)},
}
if {name: best for name, (_, best) in seen.items()} != told or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
