#!/usr/bin/env bash
# In OmegaConf 2.4.0 a task that is written as ${first} is no copy of the first but the first itself: second.rate = 1e-5
# and OmegaConf.update set the rate of the first task, too, and it is trained at a tenth of what its own lines say.
# The same override by OmegaConf.merge, as that of a command line, sets it for the second alone.
# Exits with 0 while that is so. Takes about 30 MB and the package index; Holdfast has no part in it.
set -euo pipefail
OMEGACONF=2.4.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "omegaconf==$OMEGACONF"

cd "$folder" # nothing of a checkout is imported
cat >tasks.yaml <<'YAML'
first:
  rate: 1.0e-4
  epochs: 3
second: ${first}
YAML
cat tasks.yaml
"$python" - <<'PYTHON'
import sys

import omegaconf
from omegaconf import OmegaConf


def by_attribute(tasks):
    tasks.second.rate = 1e-5
    return tasks


def by_update(tasks):
    OmegaConf.update(tasks, "second.rate", 1e-5)
    return tasks


def by_merge(tasks):
    return OmegaConf.merge(tasks, OmegaConf.from_dotlist(["second.rate=1e-5"]))


print(f"OmegaConf {omegaconf.__version__}; the second task's rate is set to 1e-5")
seen = []
for way in (by_attribute, by_update, by_merge):
    tasks = way(OmegaConf.load("tasks.yaml"))
    seen.append((tasks.first.rate, tasks.second.rate))
    print(f"{way.__name__}: first {seen[-1][0]}, second {seen[-1][1]}")
if seen != [(1e-5, 1e-5), (1e-5, 1e-5), (1e-4, 1e-5)]:
    print("Changed.")
    sys.exit(1)
PYTHON
