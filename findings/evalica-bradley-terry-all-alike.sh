#!/usr/bin/env bash
# A model that loses every comparison, as a base often does, or wins every one, makes all models alike in evalica: every
# Bradley-Terry score is 0.000001, also those of the two others, of which one beats the other in 90 of 100 comparisons.
# It has gone to its limit of steps by then, without a word. One comparison the other way in 200 mends it: 21 and 2.3
# against 0.02. Its newman does the same for a model that wins all. Nothing is said of either.
# Exits with 0 while that is so. Takes about 150 MB and the package index; Holdfast has no part in it.
set -euo pipefail
EVALICA=0.4.2

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "evalica==$EVALICA"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import evalica
from evalica import Winner

TABLES = {  # how often the first and the second of two models win
    "base wins 1 of 200": {("base", "sft"): (1, 99), ("base", "grpo"): (0, 100), ("sft", "grpo"): (10, 90)},
    "base wins none": {("base", "sft"): (0, 100), ("base", "grpo"): (0, 100), ("sft", "grpo"): (10, 90)},
    "grpo wins all": {("base", "sft"): (10, 90), ("base", "grpo"): (0, 100), ("sft", "grpo"): (0, 100)},
}


def scores(method, table):
    firsts, seconds, winners = [], [], []
    for (first, second), counts in table.items():
        for winner, count in zip((Winner.X, Winner.Y), counts, strict=True):
            firsts += [first] * count
            seconds += [second] * count
            winners += [winner] * count
    result = method(firsts, seconds, winners)
    return {name: round(score, 6) for name, score in result.scores.sort_index().items()}, result.iterations


print(f"evalica {metadata.version('evalica')}")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, table in TABLES.items():
        for method in (evalica.bradley_terry, evalica.newman):
            found, steps = seen[name, method.__name__] = scores(method, table)
            print(f"{name}, {method.__name__}: {found}, {steps} steps")
print(f"warnings: {len(caught)}")
one, none, every = (seen[name, "bradley_terry"] for name in TABLES)
alike = dict.fromkeys(("base", "grpo", "sft"), 1e-6)
if not (
    one[0]["grpo"] > 5 * one[0]["sft"] > 50 * one[0]["base"]
    and none == every == (alike, 100)
    and seen["grpo wins all", "newman"][0] == alike
    and not caught
):
    print("Changed.")
    sys.exit(1)
PYTHON
