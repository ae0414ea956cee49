#!/usr/bin/env bash
# The task coin_flip of reasoning-gym asks for a probability, and pays for the digits that an answer shares with the
# right one from the left, as a part of the shorter of both. The shortest is 0: every probability below 1 begins with
# it, and of 200 questions none of which has the answer 0 it has a reward of 1 on 186. 0.3 is right for 0.375, and 0.31
# has 0.75. The docstring says that small numeric errors are handled; of the length it says nothing.
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

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tasks = reasoning_gym.create_dataset("coin_flip", size=200, seed=0)
    impossible = sum(float(entry["answer"]) == 0 for entry in tasks)
    certain = sum(float(entry["answer"]) == 1 for entry in tasks)
    right = sum(tasks.score_answer("0", entry) == 1 for entry in tasks)
    entry = next(entry for entry in tasks if entry["answer"] == "0.375")
    seen = {answer: tasks.score_answer(answer, entry) for answer in ("0.375", "3/8", "0", "0.3", "0.31", "0.4", "0.9")}
print(f"reasoning-gym {metadata.version('reasoning-gym')}, coin_flip, warnings: {len(caught)}")
print(f"of 200 questions {impossible} have the answer 0, {certain} have 1; the answer 0 has a reward of 1 on {right}")
print(f"{entry['question']} {entry['answer']}")
for answer, reward in seen.items():
    print(f"reward of {answer}: {reward:.2f}")
told = {"0.375": 1.0, "3/8": 1.0, "0": 1.0, "0.3": 1.0, "0.31": 0.75, "0.4": 2 / 3, "0.9": 2 / 3}
if not ((impossible, right) == (0, 200 - certain) and seen == told and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
