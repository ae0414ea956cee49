#!/usr/bin/env bash
# crowd-kit's BradleyTerry, asked for 10,000 rounds, takes two, whatever its tolerance: it compares the scores of a
# round with those of the round before in the same array, sees that nothing has moved, and stops. Of five models, each
# of which wins two of three comparisons with the next, the third stands above the second, which beats it, and the first
# has 3 times the score of the last instead of 16 times. Its documentation says that it maximises the likelihood, and
# stops when the loss changes by less than the tolerance; with a tolerance of 0 it does.
# Exits with 0 while that is so. Takes about 600 MB and the package index; Holdfast has no part in it.
set -euo pipefail
CROWD_KIT=1.4.2

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "crowd-kit==$CROWD_KIT"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import pandas as pd
from crowdkit.aggregation import BradleyTerry

MODELS = ["first", "second", "third", "fourth", "fifth"]  # each wins two of three comparisons with the next
TIMES = [90, 30, 90, 30]  # how often they are compared

rows = []
for better, worse, times in zip(MODELS, MODELS[1:], TIMES):
    rows += [("judge", better, worse, worse if turn % 3 == 0 else better) for turn in range(times)]
comparisons = pd.DataFrame(rows, columns=["worker", "left", "right", "label"])


def scored(**settings):
    """Each model's score, the last one's taken as 1."""
    scores = BradleyTerry(**settings).fit_predict(comparisons)
    return {model: round(float(scores[model] / scores["fifth"]), 1) for model in MODELS}


print(f"crowd-kit {metadata.version('crowd-kit')}, each of five models wins two of three comparisons with the next")
seen = {
    "10,000 rounds": scored(n_iter=10_000),
    "10,000 rounds, a tolerance of 1e-12": scored(n_iter=10_000, tol=1e-12),
    "two rounds, a tolerance of 0": scored(n_iter=2, tol=0),
    "10,000 rounds, a tolerance of 0": scored(n_iter=10_000, tol=0),
}
for name, scores in seen.items():
    print(f"{name}: {scores}")
asked, finer, two, whole = seen.values()
stopped = asked == finer == two and asked["third"] > asked["second"] and asked["first"] < 3
if not (stopped and list(whole.values()) == [16, 8, 4, 2, 1]):
    print("Changed.")
    sys.exit(1)
PYTHON
