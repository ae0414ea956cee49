#!/usr/bin/env bash
# Continuum's RehearsalMemory makes room by keeping the first rows of each class, and the rows of a new task come last.
# Where all tasks have the same classes, as in its instance-incremental scenarios and wherever the answers are yes and
# no, there is never any room: after five tasks all of the memory is of the first one, and of the others nothing is
# replayed, whichever way of herding chose the rows. Only new classes get in. Nothing is said when rows are added; a
# TODO in its docstring asks what happens if new data have old classes.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
CONTINUUM=1.2.7 NUMPY=2.4.6 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "numpy==$NUMPY" "torch==$TORCH"
pip install --no-deps "continuum==$CONTINUUM" # its memory needs these two alone

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import types
import warnings

import numpy as np

package = types.ModuleType("continuum")  # without its __init__, which imports what all of its datasets need
package.__path__ = [str(metadata.distribution("continuum").locate_file("continuum"))]
sys.modules["continuum"] = package
from continuum.rehearsal import RehearsalMemory  # noqa: E402

TASKS, ROWS, SIZE = 5, 500, 200


def remembered(herding, new_classes):
    """How many rows of each task the memory has after the last one."""
    numbers = np.random.default_rng(0)
    np.random.seed(0)  # for the random herding
    memory = RehearsalMemory(SIZE, herding_method=herding)
    for task in range(TASKS):
        classes = numbers.integers(0, 2, ROWS) + (2 * task if new_classes else 0)
        rows = numbers.normal(size=(ROWS, 8))
        memory.add(rows, classes, np.full(ROWS, task), rows)
    return np.bincount(memory.get()[2], minlength=TASKS).tolist()


ways = "random", "cluster", "barycenter"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    same = {herding: remembered(herding, new_classes=False) for herding in ways}
    new = {herding: remembered(herding, new_classes=True) for herding in ways}
print(f"continuum {metadata.version('continuum')}; {TASKS} tasks of {ROWS} rows, a memory of {SIZE}")
for herding in ways:
    print(f"{herding}: rows of each task, if all have the same two classes {same[herding]}")
    print(f"{' ' * len(herding)}  if each has two new ones {new[herding]}")
print(f"warnings: {len(caught)}")
first, each = [SIZE, *[0] * (TASKS - 1)], [SIZE // TASKS] * TASKS
if not (same == dict.fromkeys(ways, first) and new == dict.fromkeys(ways, each) and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
