#!/usr/bin/env bash
# Three boxes found exactly where they are have an IntersectionOverUnion of 0.33 in torchmetrics, if their labels are
# alike: each is compared with all boxes of its label in the picture, not with its own. Ten such boxes, and it is 0.1.
# A box that is missed, or found under another label, is compared with none, and left out: with one picture of ten
# right and the other nine answered with another label, the IoU is 1, and so it is if of a cat and a dog only cats are
# found. Nothing is said. The generalized, distance and complete IoU are made from it.
# Exits with 0 while that is so. Takes about 6 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCHMETRICS=1.9.0 TORCH=2.14.1 TORCHVISION=0.29.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torchmetrics==$TORCHMETRICS" "torch==$TORCH" "torchvision==$TORCHVISION"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from torchmetrics.detection import IntersectionOverUnion

CAT, DOG = 0, 1


def picture(*labels):
    """Boxes side by side in a picture, with those labels."""
    boxes = torch.tensor([[30.0 * place, 0.0, 30.0 * place + 20, 20.0] for place in range(len(labels))])
    return {"boxes": boxes, "labels": torch.tensor(labels)}


def measured(answers, references):
    metric = IntersectionOverUnion()
    metric.update(answers, references)
    return round(metric.compute()["iou"].item(), 2)


print(f"torchmetrics {metadata.version('torchmetrics')}, IntersectionOverUnion")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    exact = {boxes: measured([picture(*[CAT] * boxes)], [picture(*[CAT] * boxes)]) for boxes in (1, 3, 10)}
    others = {
        "ten pictures of a cat, one found as a cat and nine as dogs": measured(
            [picture(CAT)] + [picture(DOG)] * 9, [picture(CAT)] * 10
        ),
        "ten pictures of a cat and a dog, the cats found and no dog": measured(
            [picture(CAT)] * 10, [picture(CAT, DOG)] * 10
        ),
    }
for boxes, value in exact.items():
    print(f"one picture of cats, {boxes}, all exactly found: {value}")
for name, value in others.items():
    print(f"{name}: {value}")
print(f"warnings: {len(caught)}")
if not (list(exact.values()) == [1.0, 0.33, 0.1] and list(others.values()) == [1.0, 1.0] and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
