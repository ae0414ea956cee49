#!/usr/bin/env bash
# aggregate_raters of statsmodels, which counts verdicts for Fleiss' kappa, takes "no verdict" (NaN) for a verdict of
# its own. Where three of five judges are asked about each item and always agree, kappa is 0.09; where judges give
# random verdicts, and all but one fail on the same half of the items, it is 0.3: they agree to say nothing.
# Krippendorff's alpha, which leaves missing verdicts out, is 1 and 0. The docstring speaks of categories, not of
# missing values.
# Exits with 0 while that is so. Takes about 500 MB and the package index; Holdfast has no part in it.
set -euo pipefail
STATSMODELS=0.15.0 KRIPPENDORFF=0.9.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "statsmodels==$STATSMODELS" "krippendorff==$KRIPPENDORFF"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import krippendorff
import numpy as np
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

ITEMS, JUDGES = 300, 5
random = np.random.default_rng(0)
verdicts = random.integers(0, 2, (ITEMS, 1)).astype(float)
asked = np.argsort(random.random((ITEMS, JUDGES)), axis=1) < 3  # three of the five judges, drawn for each item
failed = np.arange(ITEMS)[:, None] % 2 == 0  # of every second item all judges but one gave no verdict
others = np.arange(JUDGES)[None] > 0
TABLES = {
    "three of five judges asked, who always agree": np.where(asked, verdicts, np.nan),
    "random verdicts, all given": random.integers(0, 2, (ITEMS, JUDGES)).astype(float),
    "random verdicts, half of the items by one judge alone": np.where(
        failed & others, np.nan, random.integers(0, 2, (ITEMS, JUDGES))
    ),
}

print(f"statsmodels {metadata.version('statsmodels')}, krippendorff {metadata.version('krippendorff')}")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, table in TABLES.items():
        counts, categories = aggregate_raters(table)
        alpha = krippendorff.alpha(table.T, level_of_measurement="nominal")
        seen[name] = round(float(fleiss_kappa(counts)), 2) + 0.0, round(float(alpha), 2) + 0.0, len(categories)
        print(f"{name}: Fleiss' kappa {seen[name][0]}, Krippendorff's alpha {seen[name][1]}; {categories.tolist()}")
documented = (aggregate_raters.__doc__ + fleiss_kappa.__doc__).lower()
print(f"warnings: {len(caught)}; the docstrings speak of missing values: {'missing' in documented}")
(agree, one, three), (none, zero, two), (feigned, nothing, also) = seen.values()
same = (one, three, two, also) == (1.0, 3, 2, 3) and max(abs(none), abs(zero), abs(nothing)) < 0.1
if not (same and agree < 0.2 and feigned > 0.25 and not caught and "missing" not in documented):
    print("Changed.")
    sys.exit(1)
PYTHON
