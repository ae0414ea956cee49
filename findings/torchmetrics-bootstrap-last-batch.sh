#!/usr/bin/env bash
# torchmetrics' metrics are called once a batch and computed at the end of an epoch: metric(answers, targets) gives the
# batch's value and adds the batch to what compute() tells. BootStrapper, which is to give confidence intervals, and
# MinMaxMetric forget all earlier batches at each such call: compute() is about the last batch. Of 400 answers half are
# right; in batches of 50 BootStrapper's mean is 1.0, with a standard deviation of 0, if the right ones come last. With
# update() both are of all rows. "Whenever update or forward is called", BootStrapper's documentation says, rows are
# drawn anew; of forgetting it says nothing.
# Exits with 0 while that is so. Takes about 1.2 GB and the package index; Holdfast has no part in it.
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
from torchmetrics.classification import BinaryAccuracy
from torchmetrics.wrappers import BootStrapper, MinMaxMetric, MultioutputWrapper

RIGHT = torch.tensor([0] * 200 + [1] * 200)  # the answers; every target is 1
METRICS = {
    "BinaryAccuracy": lambda: BinaryAccuracy(),
    "MultioutputWrapper": lambda: MultioutputWrapper(BinaryAccuracy(), num_outputs=1),
    "BootStrapper": lambda: BootStrapper(BinaryAccuracy(), num_bootstraps=200),
    "MinMaxMetric": lambda: MinMaxMetric(BinaryAccuracy()),
}


def accuracy(name, size, called):
    """What compute() says at the end of an epoch, and BootStrapper's standard deviation."""
    torch.manual_seed(0)
    metric = METRICS[name]()
    for answers in RIGHT.split(size):
        if name == "MultioutputWrapper":
            answers = answers[:, None]
        (metric if called else metric.update)(answers, torch.ones_like(answers))
    value = metric.compute()
    if isinstance(value, dict):
        names = {"BootStrapper": ("mean", "std"), "MinMaxMetric": ("raw",)}.get(name, tuple(value))
        return [round(float(value[key]), 2) for key in names]
    return [round(float(value), 2)]


print(f"torchmetrics {metadata.version('torchmetrics')}: 200 of 400 answers are right, the last 200")
ways = {"update, 50": (50, False), "called, 400": (400, True), "called, 50": (50, True), "called, 8": (8, True)}
seen = {name: [accuracy(name, *way) for way in ways.values()] for name in METRICS}
for name, values in seen.items():
    print(f"{name}: " + "; ".join(f"{way} a batch: {value}" for way, value in zip(ways, values)))
sound = all(value == [0.5] for name in list(METRICS)[:2] for value in seen[name])
boot = all(abs(mean - 0.5) < 0.03 and abs(deviation - 0.025) < 0.01 for mean, deviation in seen["BootStrapper"][:2])
lost = seen["BootStrapper"][2:] == [[1.0, 0.0]] * 2 and seen["MinMaxMetric"] == [[0.5], [0.5], [1.0], [1.0]]
if not (sound and boot and lost):
    print("Changed.")
    sys.exit(1)
PYTHON
