#!/usr/bin/env bash
# SQuAD of torchmetrics, the exact match and F1 of short answers, takes punctuation and the articles out of both texts,
# and A is an article: where the reference is option A an empty answer is right, and a model that says nothing has an
# exact match of 25 % over options A to D. Signs and decimal points are punctuation: 3.5 is 35, -5 is 5, 3/4 is 34, and
# x < 2 is x > 2. The rules are those of SQuAD, whose answers are phrases.
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

from torchmetrics.text import SQuAD

PAIRS = (("3.5", "35"), ("-5", "5"), ("3/4", "34"), ("10:30", "1030"), ("x < 2", "x > 2"), ("vitamin A", "vitamin"))


def measured(answers, references):
    """Exact match and F1, in percent."""
    metric = SQuAD()
    for number, (answer, reference) in enumerate(zip(answers, references, strict=True)):
        key = str(number)
        metric.update(
            [{"prediction_text": answer, "id": key}],
            [{"answers": {"text": [reference], "answer_start": [0]}, "id": key}],
        )
    return tuple(value.item() for value in metric.compute().values())


print(f"torchmetrics {metadata.version('torchmetrics')}, SQuAD: exact match and F1")
options = ["A", "B", "C", "D"] * 25
empty = measured([""] * 100, options)
print(f"100 empty answers, 25 each of the options A to D: {empty}")
seen = {pair: measured(pair[:1], pair[1:]) for pair in PAIRS}
for (answer, reference), values in seen.items():
    print(f"{answer} for {reference}: {values}")
if not (empty == (25.0, 25.0) and set(seen.values()) == {(100.0, 100.0)}):
    print("Changed.")
    sys.exit(1)
PYTHON
