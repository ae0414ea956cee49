#!/usr/bin/env bash
# proportion_difference of mlxtend gives as its p-value the share of the normal distribution below z, and nothing says
# of which side: 80 % of 500 answers right against 60 % has z = 7.1 and "p" = 1, the same models the other way round
# have 8e-13, and models that are alike have 0.5 instead of 1. By p < 0.05 the better model is never shown to be better
# if it is the first one. The test of statsmodels has 5e-12 for both. The docstring says "the p-value for a difference
# of proportions test".
# Exits with 0 while that is so. Takes about 600 MB and the package index; Holdfast has no part in it.
set -euo pipefail
MLXTEND=0.25.0 STATSMODELS=0.15.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "mlxtend==$MLXTEND" "statsmodels==$STATSMODELS"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

from mlxtend.evaluate import proportion_difference
from statsmodels.stats.proportion import proportions_ztest

ITEMS = 500
PAIRS = ((0.8, 0.6), (0.6, 0.8), (0.7, 0.7))

print(f"mlxtend {metadata.version('mlxtend')}, proportion_difference, {ITEMS} items for each model")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for first, second in PAIRS:
        z, pvalue = proportion_difference(first, second, ITEMS)
        _, other = proportions_ztest([first * ITEMS, second * ITEMS], [ITEMS, ITEMS])
        seen[first, second] = round(float(z), 1), float(pvalue), float(other)
        print(f"{first} against {second}: z = {z:.2f}, p = {pvalue:.3g}; by statsmodels p = {other:.3g}")
documented = proportion_difference.__doc__.lower()
print(f"warnings: {len(caught)}; the docstring names a tail or a side: {'tail' in documented or 'side' in documented}")
(up, up_p, two), (down, down_p, again), (none, none_p, one) = seen.values()
signs = (up, down, none) == (7.1, -7.1, 0.0) and two == again < 1e-10 and one == 1
if not (signs and up_p > 0.999 and down_p < 1e-10 and none_p == 0.5 and not caught and "tail" not in documented):
    print("Changed.")
    sys.exit(1)
PYTHON
