#!/usr/bin/env bash
# autorank's ranking begins with the worst method, in the order "descending", its default, as in "ascending": it gives
# rank 1 to the highest scores and then sorts the mean ranks from the highest down, so that the two orders undo each
# other. The effect sizes, said to be in comparison with the highest, are in comparison with the worst, and have the
# other sign. So it is with the Wilcoxon test, Friedman and Nemenyi, ANOVA and Tukey; with approach="bayesian" the best
# one comes first. Its documentation says that descending ranks larger values higher.
# Exits with 0 while that is so. Takes about 600 MB and the package index; Holdfast has no part in it.
set -euo pipefail
AUTORANK=1.3.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "autorank==$AUTORANK"

cd "$folder" # nothing of a checkout is imported
MPLBACKEND=agg "$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys

import numpy as np
import pandas as pd
from autorank import autorank

random = np.random.default_rng(0)
NORMAL = pd.DataFrame({name: random.normal(mean, 2, 20) for name, mean in (("bad", 70), ("good", 80), ("best", 90))})
skewed = 60 + 5 * random.exponential(size=20)
SKEWED = pd.DataFrame({name: skewed + more + random.normal(size=20) for name, more in zip(NORMAL, (0, 10, 20))})


def ranked(scores, **settings):
    """The test, the methods from the first rank on, and the effect size of the best one."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a table
        result = autorank(scores, random_state=0, **settings)
    best = result.rankdf.loc[scores.columns[-1], "effect_size"]
    return result.posthoc or result.omnibus, list(result.rankdf.index), round(float(best), 1)


print(f"autorank {metadata.version('autorank')}, 20 scores of each method, about 70, 80 and 90")
worst_first = True
for scores in (SKEWED[["bad", "good"]], SKEWED, NORMAL):
    for order in ("descending", "ascending"):
        test, methods, effect = ranked(scores, order=order)
        print(f"{test}, {order}: {', '.join(methods)}; effect size of {scores.columns[-1]}: {effect}")
        worst_first &= methods == list(scores.columns) and effect < -1
test, methods, effect = ranked(SKEWED, approach="bayesian", nsamples=1000)
print(f"{test}, descending: {', '.join(methods)}; effect size of best: {effect}")
if not (worst_first and methods == ["best", "good", "bad"] and effect == 0):
    print("Changed.")
    sys.exit(1)
PYTHON
