#!/usr/bin/env bash
# The confidence interval of pingouin's t-test is rounded to two digits, and the p-value beside it is not: of accuracies
# in fractions one method is better by 0.004, p = 0.0001, with an interval from 0.0 to 0.01, which has 0 in it; of the
# accuracies in percent it is 0.26 to 0.54. A difference of 0.0015 has an interval from 0 to 0. compute_bootci
# rounds as much. The documentation of the t-test does not say so (there is a setting, in pingouin.options).
# Exits with 0 while that is so. Takes about 500 MB and the package index; Holdfast has no part in it.
set -euo pipefail
PINGOUIN=0.7.0 PANDAS=3.1.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "pingouin==$PINGOUIN" "pandas==$PANDAS"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import numpy as np
import pingouin
from scipy.stats import ttest_rel

generator = np.random.default_rng(0)
first = generator.normal(0.80, 0.01, 10)
noise = generator.normal(0, 1, 10)
noise = (noise - noise.mean()) / noise.std(ddof=1)

print(f"pingouin {metadata.version('pingouin')}, ttest of ten paired accuracies")
seen = {}
for difference in (0.004, 0.0015):
    second = first - difference + difference / 2 * noise
    for name, scale in (("in fractions", 1), ("in percent", 100)):
        row = pingouin.ttest(scale * first, scale * second, paired=True).iloc[0]
        exact = ttest_rel(scale * first, scale * second).confidence_interval()
        told = [float(end) for end in row["CI95"]]
        seen[difference, name] = told, float(row["p_val"])
        print(
            f"difference {difference} {name}: p = {row['p_val']:.1g}, interval {told}, "
            f"as it is: [{exact.low:.5f}, {exact.high:.5f}]"
        )
ends = pingouin.compute_bootci(first, second, func=lambda one, other: (one - other).mean(), paired=True, seed=0)
print(f"compute_bootci, difference 0.0015 in fractions: {ends.tolist()}")
intervals = [told for told, _ in seen.values()]
if not (
    intervals == [[0.0, 0.01], [0.26, 0.54], [0.0, 0.0], [0.1, 0.2]]
    and all(p < 0.001 for _, p in seen.values())
    and ends.tolist() == [0.0, 0.0]
):
    print("Changed.")
    sys.exit(1)
PYTHON
