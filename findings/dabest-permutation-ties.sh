#!/usr/bin/env bash
# The permutation test of DABEST counts the shuffles that give more than the observed difference, and not those that
# give as much. With three seeds of each method, paired, no shuffle can give more: every three differences of one sign
# have p = 0, where the smallest p that there is, is 0.25. Of right and wrong answers most shuffles that count are ties:
# 12 of 20 right against 17 of 20 has p = 0.03 for 0.16. The true p by enumeration, or scipy's test. Nothing is said of
# it: p is called the likelihood of the effect size if there is no difference.
# Exits with 0 while that is so. Takes about 700 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DABEST=2025.10.20

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "dabest==$DABEST"

cd "$folder" # nothing of a checkout is imported
MPLBACKEND=agg "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys

import dabest
import numpy as np
import pandas as pd
from scipy.stats import permutation_test

CASES = (  # the name, two methods, paired
    ("three seeds, paired", [70.1, 71.0, 69.5], [72.3, 73.1, 71.9], True),
    ("four seeds, paired", [70.1, 71.0, 69.5, 70.6], [72.3, 73.1, 71.9, 72.0], True),
    ("12 of 20 right, and 17 of 20", [1] * 12 + [0] * 8, [1] * 17 + [0] * 3, False),
    ("two answers lost, eight gained, of 30", [1] * 10 + [0] * 20, [0] * 2 + [1] * 16 + [0] * 12, True),
)
KNOWN = {  # p in DABEST, and the true one, each from and to
    "three seeds, paired": (0, 0, 0.25, 0.25),
    "four seeds, paired": (0, 0, 0.125, 0.125),
    "12 of 20 right, and 17 of 20": (0.02, 0.05, 0.13, 0.18),
    "two answers lost, eight gained, of 30": (0.01, 0.04, 0.09, 0.13),
}


def by_dabest(one, two, paired):
    table = pd.DataFrame({"one": one, "two": two, "seed": range(len(one))})
    choices = {"paired": "baseline", "id_col": "seed"} if paired else {}
    found = dabest.load(table, idx=("one", "two"), **choices).mean_diff.results
    return float(found.pvalue_permutation.iloc[0])


def by_scipy(one, two, paired):
    def difference(x, y, axis):
        return np.mean(y, axis=axis) - np.mean(x, axis=axis)

    kind = "samples" if paired else "independent"
    found = permutation_test((one, two), difference, permutation_type=kind, n_resamples=99_999, random_state=0)
    return float(found.pvalue)


print(f"dabest {metadata.version('dabest')}: p of a permutation test, DABEST and scipy")
changed = False
for name, one, two, paired in CASES:
    seen = by_dabest(one, two, paired), by_scipy(one, two, paired)
    lowest, highest, true_lowest, true_highest = KNOWN[name]
    changed |= not (lowest <= seen[0] <= highest and true_lowest <= seen[1] <= true_highest)
    print(f"{name}: {seen[0]:.4g}; {seen[1]:.4g}")
if changed:
    print("Changed.")
    sys.exit(1)
PYTHON
