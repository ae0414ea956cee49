#!/usr/bin/env bash
# river's ROCAUC is an approximation whose error is "not significant as long as the predicted probabilities are well
# calibrated", and that "can still be used to reliably compare models". Of answers of which 2 % are wrong the calibrated
# probabilities lie below 0.1, where its ten thresholds have one: a model that gives every answer its true probability
# has an AUROC of 0.52, by scikit-learn 0.74. One that knows less and claims more has 0.66 by both, and stands above it.
# Confidences from 0.9 to 1, as a good model's are, give 0.5 for 0.74 in the same way.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
RIVER=0.26.1 SCIKIT_LEARN=1.9.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "river==$RIVER" "scikit-learn==$SCIKIT_LEARN"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import numpy as np
from river.metrics import ROCAUC
from sklearn.metrics import roc_auc_score

ANSWERS = 20_000
rng = np.random.default_rng(0)
difficulty = rng.normal(size=ANSWERS)


def logistic(value):
    return 1 / (1 + np.exp(-value))


def measured(happened, probabilities):
    """The AUROC by river and by scikit-learn."""
    metric = ROCAUC()
    for outcome, probability in zip(happened.tolist(), probabilities.tolist()):
        metric.update(outcome, probability)
    return metric.get(), roc_auc_score(happened, probabilities)


risk = logistic(0.9 * difficulty - 4.3)  # the true probability that an answer is wrong
wrong = rng.random(ANSWERS) < risk
less = logistic(0.9 * difficulty + rng.normal(size=ANSWERS))  # half of what it says is noise
print(f"river {metadata.version('river')}, ROCAUC; {wrong.mean():.1%} of the answers are wrong")
print(f"99 % of the true probabilities lie below {np.quantile(risk, 0.99):.2f}")
seen = {}
for name, happened, probabilities in (
    ("true probabilities", wrong, risk),
    ("noisy and overconfident ones", wrong, less),
    ("confidences of being right", ~wrong, 1 - risk),
):
    seen[name] = river, exact = measured(happened, probabilities)
    print(f"{name}: {river:.2f}, by scikit-learn {exact:.2f}")
best, noisy, confidences = seen.values()
if not (
    best[0] < 0.55
    and best[1] > 0.72
    and abs(noisy[0] - noisy[1]) < 0.02
    and best[0] < noisy[0] - 0.1
    and best[1] > noisy[1] + 0.05
    and confidences[0] < 0.55
    and confidences[1] > 0.72
):
    print("Changed.")
    sys.exit(1)
PYTHON
