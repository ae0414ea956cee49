#!/usr/bin/env bash
# The ranking of evalica's eigen is upside down: of four models, of which each beats the next in 60 of 100 comparisons
# and those further down more often, the best one has the lowest score and the worst one the highest. All its other
# measures rank them the other way round. The documentation calls it "eigenvalue-based scores" of pairwise comparisons
# and sorts the scores from the highest down, as for the others; nothing says that a low one is good.
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
import itertools
import sys

import evalica
from evalica import Winner

MODELS = "first", "second", "third", "fourth"  # from the best to the worst
METHODS = "bradley_terry", "newman", "elo", "average_win_rate", "counting", "pagerank", "eigen"

firsts, seconds, winners = [], [], []
for better, worse in itertools.combinations(range(4), 2):
    won = 50 + 10 * (worse - better)  # of 100
    firsts += [MODELS[better]] * 100
    seconds += [MODELS[worse]] * 100
    winners += [Winner.X] * won + [Winner.Y] * (100 - won)

print(f"evalica {metadata.version('evalica')}, four models from the best to the worst")
rankings = {}
for name in METHODS:
    scores = getattr(evalica, name)(firsts, seconds, winners).scores
    rankings[name] = tuple(scores.sort_values(ascending=False).index)
    print(f"{name}: {scores.index[0]} stands first; {({model: round(float(scores[model]), 3) for model in MODELS})}")
if not (
    all(rankings[name] == MODELS for name in METHODS[:-1])
    and rankings["eigen"] == MODELS[::-1]
    and "low" not in evalica.eigen.__doc__
):
    print("Changed.")
    sys.exit(1)
PYTHON
