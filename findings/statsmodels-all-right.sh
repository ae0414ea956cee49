#!/usr/bin/env bash
# A model answers five of five questions right; one that is right 80 % of the time does so one time in three. The one-
# sample proportions_ztest of statsmodels says p = 0: it divides by the spread that the answers have, which are alike,
# not by that of the 80 % it tests (prop_var). Of 48 of 50 against 90 % it makes p = 0.03, by the exact test 0.23. The
# interval of proportion_confint with no method named is as wide as that spread, 1 to 1 for five of five.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
STATSMODELS=0.15.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "statsmodels==$STATSMODELS"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

CASES = (5, 5, 0.8), (50, 50, 0.98), (48, 50, 0.9)
print(f"statsmodels {metadata.version('statsmodels')}")
seen = []
for right, questions, baseline in CASES:
    default = proportions_ztest(right, questions, baseline)[1]
    tested = proportions_ztest(right, questions, baseline, prop_var=baseline)[1]
    exact = binomtest(right, questions, baseline).pvalue
    low, high = proportion_confint(right, questions)
    wilson = proportion_confint(right, questions, method="wilson")[0]
    seen.append([round(float(value), 2) for value in (default, tested, exact, low, high, wilson)])
    print(
        f"{right} of {questions} right, {baseline:.0%} tested: p = {default:.2g}; prop_var={baseline}: {tested:.2f}; "
        f"exact: {exact:.2f}; interval from {low:.2f} to {high:.2f}, Wilson's from {wilson:.2f}"
    )
sure = all(row[0] == 0 and row[2] > 0.3 and row[3:5] == [1.0, 1.0] and row[5] < 0.95 for row in seen[:2])
if not (sure and seen[2][0] < 0.05 < seen[2][1] < seen[2][2]):
    print("Changed.")
    sys.exit(1)
PYTHON
