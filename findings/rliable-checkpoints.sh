#!/usr/bin/env bash
# rliable draws runs anew for every checkpoint: of scores of runs, tasks and checkpoints, which its documentation names,
# a resample has one run's start beside another run's end. For points at each checkpoint by itself that is no harm, and
# it is for whatever is counted across them. Where each of five runs forgets 5 points on each of four tasks, no more
# and no less, the 95 % interval of forgetting is from 1 to 9 points, and -5 to -5 if the difference is taken before.
# A mean over 50 checkpoints at which each run stays what it is, is 0.7 points wide instead of 4.6. That strata are
# tasks is said; that they are checkpoints, too, is not, and no warning is given.
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
import warnings

import numpy as np
from rliable.library import get_interval_estimates

RUNS, TASKS, CHECKPOINTS = 5, 4, 50
learned = np.random.default_rng(0).normal(70, 8, (RUNS, TASKS))
forgetful = np.stack([learned, learned - 5], axis=-1)
steady = np.repeat(learned[..., None], CHECKPOINTS, axis=-1)


def interval(scores, count):
    np.random.seed(0)
    estimate, bounds = get_interval_estimates({"method": scores}, count, reps=2000)
    low, high = bounds["method"][:, 0]
    return estimate["method"][0], low, high


def mean(scores):
    return np.array([scores.mean()])


def change(scores):
    return np.array([(scores[..., -1] - scores[..., 0]).mean()])


CASES = {
    "the end less the start": (forgetful, change),
    "the same, counted before": (forgetful[..., -1] - forgetful[..., 0], mean),
    f"mean of {CHECKPOINTS} checkpoints": (steady, mean),
    "the same, taken before": (steady.mean(axis=-1), mean),
}
print(f"rliable {metadata.version('rliable')}; {RUNS} runs, {TASKS} tasks, 95 % intervals")
seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, (scores, count) in CASES.items():
        estimate, low, high = interval(scores, count)
        seen.append(high - low)
        print(f"{name}: {estimate:.1f} [{low:.1f}, {high:.1f}]")
told = [str(warning.message) for warning in caught if "rliable" in str(warning.filename)]
print(f"warnings of it: {told}")
wide, none, narrow, usual = seen
if not (wide > 5 and none < 1e-6 and narrow < usual / 4 and not told):
    print("Changed.")
    sys.exit(1)
PYTHON
