#!/usr/bin/env bash
# verl's reward for GSM8K has a "strict" and a "flexible" way to find the answer, and by the flexible one "The answer is
# 18." is wrong for 18: the full stop is part of the number. So is "1,200" for 1200, as its comma is kept, and "18, as
# 9 + 9 = 18, is the answer."; the strict way takes commas out. By that one "#### $18" is no answer, though there is a
# line that takes a dollar sign out, as only digits may follow; nor is "####18", and "#### 18." and "#### 18.00" are
# wrong. The documentation gives the two ways by name, and nothing of this.
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

file = metadata.distribution("verl").locate_file("verl/utils/reward_score/gsm8k.py")
reward = runpy.run_path(str(file))["compute_score"]
FLEXIBLE = [  # reference, answer, all of them right
    ("18", "The answer is 18."),
    ("18", "So she makes $18."),
    ("18", "18, as 9 + 9 is that, is the answer."),
    ("1200", "The answer is 1,200"),
    ("18", "#### 18."),
]
STRICT = [("18", "#### $18"), ("18", "####18"), ("18", "#### **18**"), ("18", "#### 18."), ("18", "#### 18.00")]
PLAIN = [("18", "The answer is 18", "flexible"), ("18", "#### 18", "strict"), ("1200", "#### 1,200", "strict")]

print(f"verl {metadata.version('verl')}")
rows = [(*row, "flexible") for row in FLEXIBLE] + [(*row, "strict") for row in STRICT] + PLAIN
seen = []
for reference, answer, method in rows:
    seen.append(reward(answer, reference, method=method))
    print(f"{method}: reference {reference!r}, {answer!r}: reward {seen[-1]}")
if seen != [0] * 10 + [1] * 3:
    print("Changed.")
    sys.exit(1)
PYTHON
