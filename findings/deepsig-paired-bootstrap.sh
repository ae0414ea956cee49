#!/usr/bin/env bash
# bootstrap_test of deepsig, a "paired bootstrap test" by its docstring and README, draws the items of the one model and
# of the other apart, so that no pair is left. Of 500 items a second model gets 14 right that the first got wrong, and
# one wrong that it got right: p = 0.2, as if the two had been asked other questions, where the permutation test of the
# same package has 0.002 and the exact sign test 0.0005. Drawn in pairs, by the same rule, p is 0.001.
# Exits with 0 while that is so. Takes about 500 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DEEPSIG=1.2.8 SCIPY=1.17.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "deepsig==$DEEPSIG" "scipy==$SCIPY"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import numpy as np
from deepsig import bootstrap_test, permutation_test
from scipy.stats import binomtest

ITEMS, GAINED, LOST = 500, 14, 1
before = np.array([1.0] * 300 + [0.0] * (ITEMS - 300))
after = before.copy()
after[:LOST], after[-GAINED:] = 0, 1


def in_pairs(first, second, draws=1000):
    """The same rule, with one draw of items for both."""
    random = np.random.default_rng(0)
    gain = (first - second).mean()
    items = random.integers(0, len(first), (draws, len(first)))
    return np.mean((first - second)[items].mean(axis=1) >= 2 * gain)


print(f"deepsig {metadata.version('deepsig')}, {ITEMS} items: {GAINED} gained, {LOST} lost")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen = {
        "bootstrap_test": bootstrap_test(after, before, seed=1),
        "permutation_test": permutation_test(after, before, seed=1),
        "the same bootstrap in pairs": in_pairs(after, before),
        "exact sign test": binomtest(GAINED, GAINED + LOST, alternative="greater").pvalue,
    }
for name, pvalue in seen.items():
    print(f"{name}: p = {pvalue:.4f}")
print(f"warnings: {len(caught)}; by its docstring a {bootstrap_test.__doc__.split()[2]} test")
apart, *paired = seen.values()
if not (0.1 < apart < 0.3 and max(paired) < 0.005 and "paired bootstrap" in bootstrap_test.__doc__ and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
