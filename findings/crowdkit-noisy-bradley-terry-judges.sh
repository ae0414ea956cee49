#!/usr/bin/env bash
# crowd-kit's NoisyBradleyTerry ranks answers by comparisons of several judges, and says of each judge how skilled it is
# and how it leans to the left one. It searches for the likeliest values with a derivative that is not that of its
# likelihood (for judges, of the last comparison alone, laid one place too early), and ends close to the random numbers
# from which it set out. A judge who always takes the left one and one who tosses a coin are as skilled as the one who
# sees what is better, or more, by the seed. Its own likelihood, with the derivative taken by differences, has them at
# under 0.1 and over 0.9. Nothing is said of it: no warning, and other tolerances change nothing.
# Exits with 0 while that is so. Takes about 600 MB and the package index; Holdfast has no part in it.
set -euo pipefail
CROWD_KIT=1.4.2

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "crowd-kit==$CROWD_KIT"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import numpy as np
import pandas as pd
from crowdkit.aggregation import NoisyBradleyTerry
from crowdkit.aggregation.pairwise import noisy_bt

STRENGTHS = {"A": 2, "B": 1, "C": 0, "D": -1, "E": -2}
random = np.random.default_rng(0)
JUDGES = {  # the chance that the left one is taken
    "sees": lambda left, right: 1 / (1 + np.exp(STRENGTHS[right] - STRENGTHS[left])),
    "takes the left": lambda left, right: 0.95,
    "tosses a coin": lambda left, right: 0.5,
}

rows = []
for _ in range(400):
    left, right = random.choice(list(STRENGTHS), 2, replace=False)
    rows += [(name, left, right, left if random.random() < of(left, right) else right) for name, of in JUDGES.items()]
comparisons = pd.DataFrame(rows, columns=["worker", "left", "right", "label"])


def skills(seed, **settings):
    fitted = NoisyBradleyTerry(random_state=seed, **settings).fit(comparisons)
    return {name: round(float(fitted.skills_[name]), 2) for name in JUDGES}


def by_differences(search=noisy_bt.minimize):
    """Each seed's skills, when the search takes the derivative of the same likelihood by differences."""
    noisy_bt.minimize = lambda *inputs, jac, options, **settings: search(*inputs, **settings)
    try:
        return [skills(seed) for seed in range(3)]
    finally:
        noisy_bt.minimize = search


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen, longer = [skills(seed) for seed in range(3)], skills(0, n_iter=10_000, tol=1e-12)
told = [str(warning.message) for warning in caught if "converge" in str(warning.message).lower()]
likeliest = by_differences()

print(f"crowd-kit {metadata.version('crowd-kit')}, skills by three judges' {len(rows)} comparisons of five answers")
for seed in range(3):
    print(f"seed {seed}: {seen[seed]}; by differences {likeliest[seed]}")
print(f"seed 0, 10,000 rounds and a tolerance of 1e-12: {longer}; warnings: {len(told)}")
blind = all(max(each["takes the left"], each["tosses a coin"]) > each["sees"] - 0.1 for each in seen)
least = min(min(each.values()) for each in seen)
known = all(each["sees"] > 0.9 and max(each["takes the left"], each["tosses a coin"]) < 0.15 for each in likeliest)
if not (blind and least > 0.4 and longer == seen[0] and not told and known):
    print("Changed.")
    sys.exit(1)
PYTHON
