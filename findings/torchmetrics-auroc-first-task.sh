#!/usr/bin/env bash
# A model that is always right, and sure, has an AUROC of 0.2 in torchmetrics after the first of five tasks with two
# classes each, 0.4 after the second, and 1 after the last: MulticlassAUROC counts the classes of which nothing has been
# seen yet as 0 in the mean, and so a model seems to learn that learns nothing. The warning is of true positives, not of
# the mean. MulticlassAveragePrecision and MulticlassF1Score leave those classes out, and are 1 throughout.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCHMETRICS=1.9.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torchmetrics==$TORCHMETRICS" "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from torchmetrics.classification import MulticlassAUROC, MulticlassAveragePrecision, MulticlassF1Score

CLASSES, PER_TASK, PICTURES = 10, 2, 50  # a head for all classes, from the first task on
METRICS = MulticlassAUROC, MulticlassAveragePrecision, MulticlassF1Score


def after(tasks):
    """The metrics over the test pictures of those tasks, each answered right with a probability of 0.91."""
    labels = torch.arange(tasks * PER_TASK).repeat_interleave(PICTURES)
    probabilities = 0.9 * torch.nn.functional.one_hot(labels, CLASSES) + 0.01
    return [round(metric(num_classes=CLASSES)(probabilities, labels).item(), 2) for metric in METRICS]


print(f"torchmetrics {metadata.version('torchmetrics')}; {', '.join(metric.__name__ for metric in METRICS)}")
seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for tasks in range(1, CLASSES // PER_TASK + 1):
        seen.append(after(tasks))
        print(f"after task {tasks}: {seen[-1]}")
said = {str(warning.message) for warning in caught}
print(f"said: {said}")
areas, others = [values[0] for values in seen], {tuple(values[1:]) for values in seen}
if areas != [0.2, 0.4, 0.6, 0.8, 1.0] or others != {(1.0, 1.0)}:
    print("Changed.")
    sys.exit(1)
PYTHON
