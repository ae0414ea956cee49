#!/usr/bin/env bash
# get_calibration_error_uncertainties of uncertainty-calibration gives "1-alpha confidence intervals" of a calibration
# error, 90 % with its alpha=0.1. The number reaches numpy's percentile as a percentage: 0.1 is 0.1 %, and with the
# function's 100 resamples the interval goes from the smallest of them to the largest. For 50 %, 90 % and 99 % it is the
# same within 5 % of its width, and 1.5 times as wide as a 90 % interval; alpha=10 gives that. Nothing says so.
# Exits with 0 while that is so. Takes about 300 MB and the package index; Holdfast has no part in it.
set -euo pipefail
CALIBRATION=0.1.4 NUMPY=2.4.6 SKLEARN=1.9.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "uncertainty-calibration==$CALIBRATION" "numpy==$NUMPY" "scikit-learn==$SKLEARN"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import statistics
import sys

import calibration
import numpy as np

REPEATS, ROWS = 20, 1000
LEVELS = {"99 %": 0.01, "90 %, the default": 0.1, "50 %": 0.5, "90 %, as alpha=10": 10, "50 %, as alpha=50": 50}


def width(alpha):
    """The mean width of the interval of a classifier's expected calibration error, which is 0.1."""
    widths = []
    for seed in range(REPEATS):
        np.random.seed(seed)
        sure = np.random.uniform(0.5, 1, ROWS)
        right = (np.random.uniform(size=ROWS) < sure - 0.1).astype(int)
        low, _, high = calibration.get_calibration_error_uncertainties(sure, right, p=1, alpha=alpha)
        widths.append(high - low)
    return statistics.mean(widths)


print(f"uncertainty-calibration {metadata.version('uncertainty-calibration')}: widths of intervals, {ROWS} answers")
seen = {name: width(alpha) for name, alpha in LEVELS.items()}
for name, value in seen.items():
    print(f"{name}: {value:.4f}")
wide, default, half, tenth, fiftieth = seen.values()
if not (half > 0.95 * wide and default > 1.3 * tenth > 1.3 * fiftieth):
    print("Changed.")
    sys.exit(1)
PYTHON
