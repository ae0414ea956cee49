#!/usr/bin/env bash
# rliable's intervals take a random_state that "ensures reproducibility in uncertainty estimates", and do not draw from
# it: rows are drawn by numpy's global generator. Two calls with one random_state give two intervals, whose ends differ
# by up to half a point with 200 resamples, and calls with three others give the same one if np.random.seed was set
# before. A seed set for what comes after the interval is used up by it. No warning is given.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
RLIABLE=1.2.0 ARCH=7.2.0 PANDAS=2.3.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "rliable==$RLIABLE" "arch==$ARCH" "pandas==$PANDAS"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import numpy as np
from rliable.library import get_interval_estimates

scores = np.random.default_rng(0).normal(70, 8, (5, 4))


def interval(state):
    _, bounds = get_interval_estimates({"method": scores}, lambda rows: np.array([rows.mean()]), reps=200,
                                       random_state=np.random.RandomState(state))  # fmt: skip
    return tuple(round(float(bound), 2) for bound in bounds["method"][:, 0])


np.random.seed(0)
same = [interval(0) for _ in range(3)]
other = []
for state in range(3):
    np.random.seed(0)
    other.append(interval(state))
np.random.seed(0)
before = np.random.rand()
np.random.seed(0)
interval(0)
after = np.random.rand()
print(f"rliable {metadata.version('rliable')}, get_interval_estimates(random_state=...)")
print(f"three calls with the random_state 0: {same}")
print(f"with 0, 1 and 2, each after np.random.seed(0): {other}")
print(f"numpy's next number after a seed of 0: {before:.3f}, after an interval as well {after:.3f}")
said = "ensures reproducibility" in get_interval_estimates.__doc__
if not (said and len(set(same)) == 3 and len(set(other)) == 1 and before != after):
    print("Changed.")
    sys.exit(1)
PYTHON
