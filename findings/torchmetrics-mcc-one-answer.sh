#!/usr/bin/env bash
# A model that always says yes has a Matthews correlation of 0, whatever the questions: it tells nothing.
# BinaryMatthewsCorrCoef of torchmetrics gives it 0.92 on 20 questions of which 19 are to be answered by yes, and 0.41
# on 100 of which 95 are; on 10,000 the same model has 0.04, and one that always says no has the negative of each.
# MulticlassMatthewsCorrCoef with two classes does so as well, and gives 0 with a third class that never occurs;
# scikit-learn gives 0. The documentation says nothing of models with one answer.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCHMETRICS=1.9.0 TORCH=2.13.0 SCIKIT_LEARN=1.9.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torchmetrics==$TORCHMETRICS" "torch==$TORCH" "scikit-learn==$SCIKIT_LEARN"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from sklearn.metrics import matthews_corrcoef
from torchmetrics.classification import BinaryMatthewsCorrCoef, MulticlassMatthewsCorrCoef

QUESTIONS = ((19, 1), (95, 5), (9500, 500), (50, 50))  # to be answered by yes, and by no

print(f"torchmetrics {metadata.version('torchmetrics')}, Matthews correlation")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for yes, no in QUESTIONS:
        truth = torch.tensor([1] * yes + [0] * no)
        always = torch.ones_like(truth)
        measured = {
            "always yes": BinaryMatthewsCorrCoef()(always, truth).item(),
            "always no": BinaryMatthewsCorrCoef()(1 - always, truth).item(),
            "of 2 classes": MulticlassMatthewsCorrCoef(num_classes=2)(always, truth).item(),
            "of 3 classes": MulticlassMatthewsCorrCoef(num_classes=3)(always, truth).item(),
            "scikit-learn": float(matthews_corrcoef(truth, always)),
        }
        seen[yes, no] = [round(value, 2) + 0.0 for value in measured.values()]
        print(f"{yes} yes, {no} no:", ", ".join(f"{name} {value:.2f}" for name, value in measured.items()))
print(f"warnings: {len(caught)}")
told = {
    (19, 1): [0.92, -0.92, 0.92, 0.0, 0.0],
    (95, 5): [0.41, -0.41, 0.41, 0.0, 0.0],
    (9500, 500): [0.04, -0.04, 0.04, 0.0, 0.0],
    (50, 50): [0.0] * 5,
}
if seen != told or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
