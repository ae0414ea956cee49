#!/usr/bin/env bash
# Continuum's backward_transfer and forgetting leave tasks out that their papers count: the one learned just before
# another (backward_transfer), the last two (forgetting), though they are divided as if these were there. Of two tasks
# with the first one wholly forgotten nothing is lost: both are 0, and remembering is 1. Of three, half of it is.
# Exits with 0 while that is so. Takes about 60 MB and the package index; Holdfast has no part in it.
set -euo pipefail
CONTINUUM=1.2.7 NUMPY=2.4.6

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "numpy==$NUMPY"
pip install --no-deps "continuum==$CONTINUUM" # its measures need numpy alone

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys

import numpy as np

file = metadata.distribution("continuum").locate_file("continuum/metrics/metrics.py")
measures = runpy.run_path(str(file))
SEQUENCES = {  # accuracy after each task (rows) on each so far (columns)
    "two tasks, the first wholly forgotten": [[1.0], [0.0, 1.0]],
    "three tasks, all but the last wholly forgotten": [[1.0], [0.0, 1.0], [0.0, 0.0, 1.0]],
}


def logged(matrix, items=100):
    """Predictions, targets and task numbers after each task, as Continuum's Logger hands them over."""
    stages = []
    for row in matrix:
        right = [np.arange(items) < round(accuracy * items) for accuracy in row]
        tasks = np.repeat(np.arange(len(row)), items)
        stages.append((np.concatenate(right).astype(int), np.ones(len(tasks), int), tasks))
    return [list(column) for column in zip(*stages, strict=True)]


def by_definition(matrix):
    """BWT over all earlier tasks at every stage, and forgetting at the last one."""
    last = len(matrix) - 1
    changes = [matrix[i][j] - matrix[j][j] for i in range(1, last + 1) for j in range(i)]
    lost = [max(matrix[stage][j] for stage in range(j, last)) - matrix[last][j] for j in range(last)]
    return sum(changes) / len(changes), sum(lost) / len(lost)


print(f"continuum {metadata.version('continuum')}")
seen = []
for name, matrix in SEQUENCES.items():
    said = [measures[measure](*logged(matrix)) for measure in ("backward_transfer", "forgetting", "remembering")]
    seen.append((*by_definition(matrix), *map(float, said)))
    print(f"{name}: by definition BWT {seen[-1][0]:+.2f}, forgetting {seen[-1][1]:.2f};")
    print("    continuum: backward_transfer {:+.2f}, forgetting {:.2f}, remembering {:.2f}".format(*seen[-1][2:]))
two, three = seen
if not (two == (-1, 1, 0, 0, 1) and three[:2] == (-1, 1) and -0.5 < three[2] < 0 and three[3] == 0.5):
    print("Changed.")
    sys.exit(1)
PYTHON
