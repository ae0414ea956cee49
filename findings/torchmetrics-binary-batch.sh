#!/usr/bin/env bash
# BinaryAccuracy of torchmetrics takes logits or probabilities, and tells which by the batch: values are logits, and go
# through a sigmoid, only if one of them lies outside of 0 to 1. A logit of 0.3 is yes beside one of 2.0 and no alone,
# and the same answers have another accuracy, F1 and AUROC in smaller batches, of which the last of a set may be one.
# MulticlassAccuracy, besides, is not Accuracy(task="multiclass"): it is the mean over classes.
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

import torch
from torchmetrics import Accuracy
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score, MulticlassAccuracy

LOGITS = torch.tensor([0.3, 2.0, 0.2, -0.5] * 16)  # of yes; each has the sign of its answer
ANSWERS = (LOGITS > 0).long()


def measured(metric, size):
    """The metric over all answers, in batches of that size."""
    for logits, answers in zip(LOGITS.split(size), ANSWERS.split(size), strict=True):
        metric.update(logits, answers)
    return round(metric.compute().item(), 3)


print(f"torchmetrics {metadata.version('torchmetrics')}; {len(LOGITS)} logits, all of the right sign")
SIZES = 64, 4, 1
seen = {
    metric.__name__: [measured(metric(), size) for size in SIZES]
    for metric in (BinaryAccuracy, BinaryF1Score, BinaryAUROC)
}
for name, values in seen.items():
    print(f"{name} in batches of 64, 4 and 1: {values}")
answers, guesses = torch.tensor([0] * 90 + [1] * 10), torch.zeros(100, dtype=torch.long)
task = round(Accuracy(task="multiclass", num_classes=2)(guesses, answers).item(), 3)
own = round(MulticlassAccuracy(num_classes=2)(guesses, answers).item(), 3)
print(f'90 of 100 right, all of one class: Accuracy(task="multiclass") {task}, MulticlassAccuracy {own}')
batched = all(values[:2] == [1.0, 1.0] and values[2] < 1 for values in seen.values())
if not (batched and (task, own) == (0.9, 0.5)):
    print("Changed.")
    sys.exit(1)
PYTHON
