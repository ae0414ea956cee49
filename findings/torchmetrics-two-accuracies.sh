#!/usr/bin/env bash
# torchmetrics 1.9.0 has two accuracies under what looks like one name: Accuracy(task="multiclass") is the share of
# right answers, and MulticlassAccuracy, the class that it makes, the mean over the classes. A model that calls each of
# 100 pictures a cat, 90 of them rightly, has 0.9 by one and 0.5 by the other; so do the two functions. Of models, that
# which is better by one is worse by the other.
# Exits with 0 while that is so. Takes about 1.1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCHMETRICS=1.9.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "torchmetrics==$TORCHMETRICS"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import torch
from torchmetrics import Accuracy
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional import accuracy
from torchmetrics.functional.classification import multiclass_accuracy

CAT, DOG = 0, 1
labels = torch.tensor([CAT] * 90 + [DOG] * 10)
MODELS = {
    "says cat each time": torch.full((100,), CAT),
    "knows 60 of 90 cats and all dogs": torch.tensor([CAT] * 60 + [DOG] * 30 + [DOG] * 10),
}
METRICS = {
    'Accuracy(task="multiclass")': Accuracy(task="multiclass", num_classes=2),
    "MulticlassAccuracy": MulticlassAccuracy(num_classes=2),
    'accuracy(task="multiclass")': lambda said, labels: accuracy(said, labels, task="multiclass", num_classes=2),
    "multiclass_accuracy": lambda said, labels: multiclass_accuracy(said, labels, num_classes=2),
}
print(f"torchmetrics {metadata.version('torchmetrics')}; 90 cats and 10 dogs")
print(f"{next(iter(METRICS))} makes a {type(METRICS[next(iter(METRICS))]).__name__}.")
seen = []
for model, said in MODELS.items():
    seen.append([round(metric(said, labels).item(), 2) for metric in METRICS.values()])
    print(f"A model that {model}: {dict(zip(METRICS, seen[-1], strict=True))}")
same = type(METRICS['Accuracy(task="multiclass")']) is MulticlassAccuracy
if not (same and seen == [[0.9, 0.5, 0.9, 0.5], [0.7, 0.83, 0.7, 0.83]]):
    print("Changed.")
    sys.exit(1)
PYTHON
