#!/usr/bin/env bash
# Continuum's forward_transfer is the mean accuracy on the tasks that were learned before, and not on those to come: it
# adds up the half of the matrix below the diagonal. A model that keeps all it learned and knows nothing of the tasks to
# come has a forward transfer of 1; one that forgets all and answers the next task as well as if it had learned it has
# one of 0. Its documentation says "the influence that learning a task has on the performance of future tasks" and
# names the paper on GEM, where it is the accuracy before a task is learned, less that of an untrained model.
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
forward_transfer = runpy.run_path(str(file))["forward_transfer"]
UNTRAINED = 0.0
SEQUENCES = {  # accuracy after each of three tasks (rows) on each (columns)
    "all kept, nothing known of tasks to come": [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]],
    "all forgotten, all known of tasks to come": [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]],
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
    """The accuracy on each task just before it is learned, less that of an untrained model."""
    return sum(matrix[task - 1][task] - UNTRAINED for task in range(1, len(matrix))) / (len(matrix) - 1)


print(f"continuum {metadata.version('continuum')}")
seen = []
for name, matrix in SEQUENCES.items():
    seen.append((by_definition(matrix), float(forward_transfer(*logged(matrix)))))
    print(f"{name}: forward transfer by definition {seen[-1][0]:.2f}, of continuum {seen[-1][1]:.2f}")
if not (seen == [(0, 1), (1, 0)] and "future tasks" in forward_transfer.__doc__):
    print("Changed.")
    sys.exit(1)
PYTHON
