#!/usr/bin/env bash
# best@8 of verl's validation is not if one of eight answers is right: eight are drawn from the eight with replacement,
# a thousand times over, so that on average only five of them are looked at. A question with one right answer of eight
# counts 0.65 and not 1, and worst@8 of one with seven right 0.34 and not 0. A model that has one right answer of eight
# to every question has a best@8 of 0.65 beside the pass@8 of 1 that others report, and a best@4 of 0.41 for 0.5. Its
# documentation says "bootstrap samples of size N", also for the N answers that are all there are.
# Exits with 0 while that is so. Takes about 1.5 GB and the package index; Holdfast has no part in it.
set -euo pipefail
VERL=0.9.1 TORCH=2.13.0 TRANSFORMERS=5.23.0 RAY=2.60.0 TENSORDICT=0.15.3 OMEGACONF=2.4.0 CODETIMING=1.4.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "torch==$TORCH" "transformers==$TRANSFORMERS" "ray==$RAY" "tensordict==$TENSORDICT" \
    "omegaconf==$OMEGACONF" "codetiming==$CODETIMING"
pip install --no-deps "verl==$VERL" # its validation needs nothing else

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys
from math import comb

from verl.trainer.ppo.metric_utils import process_validation_metrics

ANSWERS, QUESTIONS = 8, 20


def measured(right):
    """What verl says of questions with so many right answers of eight."""
    uids = [f"question {number}" for number in range(QUESTIONS) for _ in range(ANSWERS)]
    scores = [float(answer < right) for _ in range(QUESTIONS) for answer in range(ANSWERS)]
    return process_validation_metrics(["mathematics"] * len(uids), uids, {"acc": scores})["mathematics"]["acc"]


def passed(right, drawn):
    """The share of draws of different answers with a right one among them (pass@k)."""
    return 1 - comb(ANSWERS - right, drawn) / comb(ANSWERS, drawn)


print(f"verl {metadata.version('verl')}, {QUESTIONS} questions with {ANSWERS} answers each")
best = {}
for right in (1, 2, 4):
    said = measured(right)
    for drawn in (4, 8):
        best[right, drawn] = round(float(said[f"best@{drawn}/mean"]), 2), round(passed(right, drawn), 2)
        print(f"{right} right of 8: best@{drawn} {best[right, drawn][0]}, pass@{drawn} {best[right, drawn][1]}")
worst = round(float(measured(7)["worst@8/mean"]), 2)
print(f"7 right of 8: worst@8 {worst}, the worst of all eight is 0")
if not (abs(best[1, 8][0] - 0.66) < 0.03 and best[1, 8][1] == 1 and best[1, 4][0] < 0.45 and 0.3 < worst < 0.4):
    print("Changed.")
    sys.exit(1)
PYTHON
