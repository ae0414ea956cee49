#!/usr/bin/env bash
# Where every concept loses half of its score when the next one is learned, and nothing after that, the backward
# transfer is -0.5: the mean over concepts of the last score less the one just after learning. pyCLAD's BackwardTransfer
# takes the mean of the changes from one row of the matrix to the next, so that rows in which nothing happens count, and
# gives -0.2 for 5 concepts and -0.05 for 20: with more concepts a method that forgets the same looks better. With two
# concepts it is -0.5. Concepts that fall at once and those that fall at the very end have one value, too; in the mean
# over all pairs of a row and an earlier concept they differ. The class has no documentation, and the README names it.
# Exits with 0 while that is so. Takes about 100 MB and the package index; Holdfast has no part in it.
set -euo pipefail
PYCLAD=0.3.0 NUMPY=2.4.6

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "numpy==$NUMPY"
pip install --no-deps "pyclad==$PYCLAD" # its measures need nothing else

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import numpy as np
from pyclad.metrics.continual.backward_transfer import BackwardTransfer

CONCEPTS = 2, 5, 10, 20


def scores(concepts, lost_at_once):
    """Row i: the scores after concept i is learned. Each concept has 1 then, and in the end 0.5, but for the last."""
    matrix = np.full((concepts, concepts), 0.5)
    for learned in range(concepts):
        matrix[learned, learned if lost_at_once else slice(0, learned + 1)] = 1.0
    matrix[-1, :-1] = 0.5
    return matrix


def usual(matrix):
    """The mean of each concept's last score less the one just after it was learned."""
    return np.mean([matrix[-1, i] - matrix[i, i] for i in range(len(matrix) - 1)])


def over_pairs(matrix):
    """The mean over all pairs of a later row and an earlier concept."""
    pairs = [(i, j) for i in range(len(matrix)) for j in range(i)]
    return np.mean([matrix[i, j] - matrix[j, j] for i, j in pairs])


print(f"pyclad {metadata.version('pyclad')}, BackwardTransfer; every concept falls from 1 to 0.5")
seen = {}
for concepts in CONCEPTS:
    early, late = (scores(concepts, lost_at_once) for lost_at_once in (True, False))
    seen[concepts] = [round(float(BackwardTransfer().compute(each.tolist())), 3) for each in (early, late)]
    told = [round(float(mean(each)), 3) for mean in (usual, over_pairs) for each in (early, late)]
    print(f"{concepts} concepts: {seen[concepts][0]} if they fall at once, {seen[concepts][1]} at the end; ", end="")
    print(f"last less first {told[0]} and {told[1]}, over all pairs {told[2]} and {told[3]}")
    if told[:3] != [-0.5] * 3:
        sys.exit("The example is wrong.")
if seen != {concepts: [-1 / concepts] * 2 for concepts in CONCEPTS}:
    print("Changed.")
    sys.exit(1)
PYTHON
