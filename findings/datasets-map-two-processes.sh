#!/usr/bin/env bash
# Dataset.map of datasets 5.2.0 with num_proc=2 gives both processes the same state of numpy's random numbers, and of
# torch's (seen with torch 2.13.0): the second half of the rows gets the very draws of the first. Python's own random
# is another in each process. So of 1,000 random options or masks there are 500, each twice. It holds where processes
# are forked, as under Linux.
# Exits with 0 while that is so. Takes about 350 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
cat >script.py <<'PYTHON'
import importlib.metadata as metadata
import os
import random
import sys
import time

import numpy
from datasets import Dataset, disable_progress_bars

disable_progress_bars()
ROWS = Dataset.from_dict({"row": list(range(1000))})


def draw(row):
    time.sleep(0.001)  # as long as a picture takes, or less; else one process is done before the other begins
    return {"numpy": float(numpy.random.random()), "random": random.random(), "process": os.getpid()}


print(f"datasets {metadata.version('datasets')}: a number drawn for each of {len(ROWS)} rows")
seen = []
for processes in (1, 2):
    numpy.random.seed(1)
    random.seed(1)
    drawn = ROWS.map(draw, num_proc=processes if processes > 1 else None)
    halves = [drawn["numpy"][:500] == drawn["numpy"][500:], drawn["random"][:500] == drawn["random"][500:]]
    numbers = [len(set(drawn["numpy"])), len(set(drawn["random"]))]
    seen.append((len(set(drawn["process"])), numbers, halves))
    print(f"num_proc={processes}: different numbers, numpy {numbers[0]}, random {numbers[1]}; ", end="")
    print(f"second half as the first: numpy {halves[0]}, random {halves[1]}")
if seen != [(1, [1000, 1000], [False, False]), (2, [500, 1000], [True, False])]:
    print("Changed.")
    sys.exit(1)
PYTHON
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" script.py
