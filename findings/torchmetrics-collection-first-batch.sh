#!/usr/bin/env bash
# In a MetricCollection of torchmetrics the word error rate is the character error rate, 0.04 instead of 0.16, if the
# answers of the first batch are digits or letters, and right: metrics whose sums agree after one batch are taken for
# one metric from then on, and the others are given its sums. An accuracy at a threshold of 0.9 is the one at 0.5, 1.0
# instead of 0.55, if the first batch is a clear one, and BLEU without regard to case is BLEU with it. Nothing is said.
# With another first batch, with compute_groups=False, or with batches that are given to the collection itself instead
# of to update, each metric has its own value.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCHMETRICS=1.9.0 TORCH=2.13.0 SACREBLEU=2.6.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torchmetrics==$TORCHMETRICS" "torch==$TORCH" "sacrebleu==$SACREBLEU"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy
from torchmetrics.text import CharErrorRate, SacreBLEUScore, WordErrorRate

DIGITS = (["5", "7", "9", "4"],) * 2  # answers and references, all alike
PHRASES = ["the red car", "a grey horse"] * 20, ["the red cat", "a grey horse"] * 20
CLEAR = torch.tensor([0.97, 0.02, 0.98, 0.01]), torch.tensor([1, 0, 1, 0])
UNCLEAR = torch.tensor([0.7, 0.8, 0.3, 0.2] * 10), torch.tensor([1, 1, 0, 0] * 10)
SMALL = ["two dogs play in snow"], [["two dogs play in snow"]]
CAPITALS = ["a horse on a Green Meadow"] * 10, [["a horse on a green meadow"]] * 10
CASES = (
    ({"characters": CharErrorRate, "words": WordErrorRate}, DIGITS, PHRASES),
    ({"at a half": BinaryAccuracy, "at nine tenths": lambda: BinaryAccuracy(threshold=0.9)}, CLEAR, UNCLEAR),
    ({"with case": SacreBLEUScore, "without": lambda: SacreBLEUScore(lowercase=True)}, SMALL, CAPITALS),
)


def measured(metrics, batches, called=False, **settings):
    """The values of a collection after those batches, given to update or to the collection itself."""
    collection = MetricCollection({name: metric() for name, metric in metrics.items()}, **settings)
    for answers, references in batches:
        (collection if called else collection.update)(answers, references)
    return {name: round(value.item(), 2) for name, value in collection.compute().items()}


print(f"torchmetrics {metadata.version('torchmetrics')}, two batches")
as_said = True
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for metrics, easy, hard in CASES:
        together, turned = measured(metrics, (easy, hard)), measured(metrics, (hard, easy))
        alone = measured(metrics, (easy, hard), compute_groups=False)
        called = measured(metrics, (easy, hard), called=True)
        print(f"in a collection {together}; the other way round {turned}; compute_groups=False {alone}")
        print(f"    not by update: {called}")
        first, second = alone.values()
        as_said &= turned == called == alone and first != second and set(together.values()) == {first}
print(f"warnings: {len(caught)}")
if not (as_said and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
