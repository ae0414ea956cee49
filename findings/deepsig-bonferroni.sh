#!/usr/bin/env bash
# bonferroni_correction of deepsig, a package of significance tests for comparisons of models, gives corrected p-values
# to the wrong methods unless the smallest come first: it sorts them, and then takes from the sorted ones by the places
# from which they came, instead of putting them back there. Of 0.03, 0.5 and 0.001 the second, 0.5, has a corrected
# p-value of 0.003, and 0.001 one of 0.06. If they are given in their order, 0.001, 0.03 and 0.5, each has its own; but
# the factors are Holm's, 3, 2 and 1, where Bonferroni's is 3 for each. The documentation says that Bonferroni's method
# is applied, and a comment in its source that the order is kept.
# Exits with 0 while that is so. Takes about 500 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DEEPSIG=1.2.8

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "deepsig==$DEEPSIG"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import numpy as np
from deepsig import bonferroni_correction

ORDERS = ((0.001, 0.03, 0.5), (0.03, 0.5, 0.001), (0.5, 0.001, 0.03))

print(f"deepsig {metadata.version('deepsig')}, bonferroni_correction")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for pvalues in ORDERS:
        seen[pvalues] = tuple(bonferroni_correction(np.array(pvalues)).round(4).tolist())
        plain = [round(min(1.0, len(pvalues) * pvalue), 4) for pvalue in pvalues]
        print(f"{list(pvalues)}: {list(seen[pvalues])}; each times {len(pvalues)}: {plain}")
print(f"warnings: {len(caught)}")
told = dict(zip(ORDERS, ((0.003, 0.06, 0.5), (0.5, 0.003, 0.06), (0.06, 0.5, 0.003)), strict=True))
if seen != told or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
