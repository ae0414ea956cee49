#!/usr/bin/env bash
# baycomp's Bayesian signed-rank test, without a region of equivalence (its default), is sure by one data set: of two
# models that are alike on seven of eight and 0.0001 apart on the last, the one ahead there is better with a probability
# of 1.0, and its Bayesian sign test says the same. A data set on which both are alike speaks for each with exactly one
# half, so that the smallest difference on another decides every sample. The documentation does not say it. (With
# rope=0.01 they are equal, with a probability of 1.)
# Exits with 0 while that is so. Takes about 300 MB and the package index; Holdfast has no part in it.
set -euo pipefail
BAYCOMP=1.0.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "baycomp==$BAYCOMP"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import baycomp
import numpy as np

FIRST = np.array([0.70, 0.80, 0.90, 0.60, 0.75, 0.66, 0.81, 0.90])
SECOND = FIRST + np.eye(8)[0] * 0.0001


def better(test, left, right, **settings):
    """The probabilities that the left one is better and that the right one is."""
    shares = test(left, right, random_state=0, **settings)
    return round(float(shares[0]), 2), round(float(shares[-1]), 2)


rank, sign = baycomp.two_on_multiple, baycomp.SignTest.probs
seen = {
    "alike on seven of eight, signed rank": better(rank, FIRST, SECOND),
    "the other way round": better(rank, SECOND, FIRST),
    "alike on seven of eight, sign": better(sign, FIRST, SECOND),
    "alike on seven of eight, rope=0.01": better(rank, FIRST, SECOND, rope=0.01),
}
print(f"baycomp {metadata.version('baycomp')}, probabilities that the left or the right model is better")
for name, (left, right) in seen.items():
    print(f"{name}: {left}, {right}")
one, turned, by_sign, with_rope = seen.values()
if not (one == by_sign == (0, 1) and turned == (1, 0) and with_rope == (0, 0)):
    print("Changed.")
    sys.exit(1)
PYTHON
