#!/usr/bin/env bash
# Two hundred questions, all answered right: chrF of torchmetrics is 0.25 if the answers are option letters, 0.5 if they
# are yes and no, and 1 if one of many is a phrase; sacrebleu's, which it says to follow, is 100 in each. torchmetrics
# divides by six lengths of letters and two of words, also by those for which all answers are too short, sacrebleu by
# the others. Nothing is said.
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

from sacrebleu import corpus_chrf
from torchmetrics.text import CHRFScore

ANSWERS = {
    "options": ["A", "B", "C", "D"] * 50,
    "yes and no": ["yes", "no"] * 100,
    "words": ["red", "left", "two", "horse"] * 50,
    "yes and no, and one phrase": ["yes", "no"] * 100 + ["a red car"],
}
print(f"torchmetrics {metadata.version('torchmetrics')}, sacrebleu {metadata.version('sacrebleu')}; all answers right")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, answers in ANSWERS.items():
        metric = CHRFScore()
        metric.update(answers, [[answer] for answer in answers])
        other = corpus_chrf(answers, [answers], word_order=2).score  # torchmetrics' default, too
        seen[name] = round(metric.compute().item(), 2), round(other)
        print(f"{name}: torchmetrics {seen[name][0]}, sacrebleu {seen[name][1]} of 100")
print(f"warnings: {len(caught)}")
if not (list(seen.values()) == [(0.25, 100), (0.5, 100), (0.75, 100), (1.0, 100)] and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
