#!/usr/bin/env bash
# The rule that tasks of reasoning-gym have unless they bring their own pays for any text that has the right answer in
# it, by how little there is besides: for 500 the wrong answers -500 and 1500 have a reward of 0.75 and 500.5 one of
# 0.6, while "The answer is 500." has one of 0.17. Three of four right digits are nothing: 501 has 0. 33 tasks of
# arithmetic, algebra, geometry and logic use it. The README hands the model's whole response to it, and says nothing of
# parts; the docstring says when to write another rule.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
REASONING_GYM=0.1.25

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "reasoning-gym==$REASONING_GYM"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import reasoning_gym
from reasoning_gym.dataset import ProceduralDataset
from reasoning_gym.factory import DATASETS

ANSWERS = ("500", "-500", "1500", "500.5", "501", "The answer is 500.")

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tasks = reasoning_gym.create_dataset("leg_counting", size=50, seed=0)
    entry = next(entry for entry in tasks if entry["answer"] == "500")
    seen = {answer: round(tasks.score_answer(answer, entry), 2) for answer in ANSWERS}
    alike = sorted(name for name, (kind, *_) in DATASETS.items() if kind.score_answer is ProceduralDataset.score_answer)
print(f"reasoning-gym {metadata.version('reasoning-gym')}, leg_counting: {entry['question'][-200:]}")
for answer, reward in seen.items():
    print(f"reward of {answer}: {reward}")
print(f"{len(alike)} tasks have the same rule, among them {', '.join(alike[:12])}; warnings: {len(caught)}")
told = {"500": 1.0, "-500": 0.75, "1500": 0.75, "500.5": 0.6, "501": 0.0, "The answer is 500.": 0.17}
if not (seen == told and len(alike) >= 30 and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
