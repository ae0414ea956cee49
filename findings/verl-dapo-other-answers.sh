#!/usr/bin/env bash
# The reward of verl 0.9.1 for mathematics (math_dapo, which it takes for "math", "math_dapo" and aime*) keeps of an
# answer what stands behind its last =, and then takes all spaces and many words for units out. So "x = 5 or x = 3" is
# right for 3, "x=7, x=3" for the roots 2 and 3, "x<=3" for x>=3, "2, 3" for 23, "3 feet 6 inches" for 36 and "2 1/2"
# for 21/2. What a model writes most, **Answer:** 18 and 18 with a full stop, is wrong for 18. Nothing is said of it.
# Exits with 0 while that is so. Takes about 30 MB and the package index; Holdfast has no part in it.
set -euo pipefail
VERL=0.9.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "verl==$VERL" # the reward needs nothing else

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys

file = metadata.distribution("verl").locate_file("verl/utils/reward_score/math_dapo.py")
reward = runpy.run_path(str(file))["compute_score"]
WRONG = [  # reference, answer
    ("3", "Answer: x = 5 or x = 3"),
    ("x=2, x=3", "Answer: x=7, x=3"),
    ("x>=3", "Answer: x<=3"),
    ("23", "Answer: 2, 3"),
    ("2,3", "Answer: 23"),
    ("36", "Answer: 3 feet 6 inches"),
    ("21/2", "Answer: 2 1/2"),
]
RIGHT = [("18", "**Answer:** 18"), ("18", "**Answer: 18**"), ("18", "Answer: 18."), ("18", "Answer: 18.00")]
print(f"verl {metadata.version('verl')}")
seen = []
for kind, rows in (("wrong", WRONG), ("right", RIGHT)):
    for reference, answer in rows:
        result = reward(answer, reference)
        seen.append((kind, result["score"]))
        print(f"{kind}: reference {reference!r}, {answer!r}: reward {result['score']:+}, read as {result['pred']!r}")
plain = reward("Answer: 18", "18")["score"], reward("Answer: 19", "18")["score"]
print(f"'Answer: 18' and 'Answer: 19' for 18: {plain}")
if plain != (1.0, -1.0) or set(seen) != {("wrong", 1.0), ("right", -1.0)}:
    print("Changed.")
    sys.exit(1)
PYTHON
