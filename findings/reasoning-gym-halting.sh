#!/usr/bin/env bash
# The task game_of_life_halting of reasoning-gym asks whether a board is empty after some steps, and its answer is the
# text True or False. Its rule compares bool() of both texts, and any text but an empty one is true: of 100 boards of
# which 53 do not halt, True has a reward of 1 on each, so has False, and so has "I do not know.". Its docstring says
# that it awards 1.0 for a correct answer. Training on it teaches nothing, and every group of answers has one reward.
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
from collections import Counter
from statistics import mean

import reasoning_gym

ANSWERS = ("True", "False", "I do not know.", "")

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tasks = reasoning_gym.create_dataset("game_of_life_halting", size=100, seed=0)
    right = Counter(entry["answer"] for entry in tasks)
    seen = {answer: mean(tasks.score_answer(answer, entry) for entry in tasks) for answer in ANSWERS}
print(f"reasoning-gym {metadata.version('reasoning-gym')}, game_of_life_halting, right answers: {dict(right)}")
for answer, reward in seen.items():
    print(f"mean reward of {answer!r}: {reward}")
if not (min(right["True"], right["False"]) >= 40 and list(seen.values()) == [1, 1, 1, 0] and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
