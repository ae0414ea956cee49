#!/usr/bin/env bash
# Two checkpoints that are right and wrong on the same items do not differ, and by statsmodels' McNemar test for many
# items (exact=False) they do, at any level: p = 0, and all that is said is numpy's warning of a division. Where as many
# items are lost as gained p is below 1, too, and the fewer they are, the lower. By the exact test it is 1.
# In multipletests a p-value that is missing (nan) counts as a test, and with Benjamini and Hochberg makes all corrected
# values nan: what was significant without it is not.
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

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

print(f"statsmodels {metadata.version('statsmodels')}")
seen = {}
for lost, gained in ((0, 0), (1, 1), (5, 5), (50, 50)):
    table = [[700, lost], [gained, 300 - lost - gained]]
    seen[lost] = mcnemar(table, exact=False).pvalue, mcnemar(table, exact=True).pvalue
    print(f"{lost} items lost, {gained} gained: p = {seen[lost][0]:.3f}; exact: {seen[lost][1]:.3f}")
VALUES = [0.001, 0.002, 0.04]
rejected, corrected = multipletests(VALUES, method="fdr_bh")[:2]
print(f"fdr_bh of {VALUES}: {np.round(corrected, 3)}, significant: {rejected.sum()}")
fewer, none = multipletests([*VALUES, np.nan], method="fdr_bh")[:2]
print(f"fdr_bh of {[*VALUES, np.nan]}: {none}, significant: {fewer.sum()}")
alike = seen[0] == (0.0, 1.0) and all(exact == 1.0 for _, exact in seen.values())
ordered = seen[1][0] < seen[5][0] < seen[50][0] < 1
if not (alike and ordered and rejected.sum() == 3 and fewer.sum() == 2 and np.isnan(none).all()):
    print("Changed.")
    sys.exit(1)
PYTHON
