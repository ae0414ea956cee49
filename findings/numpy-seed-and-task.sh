#!/usr/bin/env bash
# numpy fills a seed up with zeros: default_rng([7, 0]), for the first task under seed 7, draws the very numbers of
# default_rng(7). If one chooses the held-out rows and the other the rows with a wrong label, all held-out rows of the
# first task have one, and of the other tasks' a tenth, as meant. [7, 0, 0] and [7, 0, 0, 0] are the same stream again,
# so are [7, 3] and [7, 3, 0]: stage 3 and its part 0. Put first, the number of the task makes a stream of its own.
# Exits with 0 while that is so. Takes about 100 MB and the package index; Holdfast has no part in it.
set -euo pipefail
NUMPY=2.4.6

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "numpy==$NUMPY"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import sys

import numpy as np

SEED, ROWS = 7, 10_000
print(f"numpy {np.__version__}; of {ROWS} rows a tenth is held out, and a tenth has a wrong label")
held_out = np.random.default_rng(SEED).random(ROWS) < 0.1
shares = {}
for place, seed_of in (("last", lambda task: [SEED, task]), ("first", lambda task: [task, SEED])):
    for task in range(3):
        wrong = np.random.default_rng(seed_of(task)).random(ROWS) < 0.1
        shares[place, task] = float(wrong[held_out].mean())
        of_all = f"{wrong.mean():.3f} of all labels wrong"
        print(f"seed {seed_of(task)}: {of_all}, {shares[place, task]:.3f} of those held out")


def numbers(seed):
    return np.random.default_rng(seed).random(4).tolist()


alike = [numbers(SEED) == numbers([SEED, *[0] * zeros]) for zeros in range(1, 6)]
stage = numbers([SEED, 3]) == numbers([SEED, 3, 0])
print(f"the stream of {SEED} is that of {SEED} and 1 to 5 zeros: {alike}; that of [7, 3] is that of [7, 3, 0]: {stage}")
apart = [share for key, share in shares.items() if key != ("last", 0)]
if not (
    shares["last", 0] == 1 and all(0.05 < share < 0.15 for share in apart)
    and alike == [True] * 3 + [False] * 2 and stage
):  # fmt: skip
    print("Changed.")
    sys.exit(1)
PYTHON
