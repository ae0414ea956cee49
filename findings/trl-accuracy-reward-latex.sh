#!/usr/bin/env bash
# TRL's accuracy_reward takes the reference as plain text, and of one in LaTeX without dollar signs, as Geometry3K
# writes it, math-verify takes a part: 12\sqrt{3} is 12. The right answer in a box gets 0 and \boxed{12} gets 1,
# while \frac{1}{3}, the example of its documentation, goes well. (An answer without LaTeX, 7 for 7, gets 0, too.)
# Exits with 0 while that is so. Takes about 1.5 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRL=1.16.0 MATH_VERIFY=0.9.0 LATEX2SYMPY2=1.11.0 TORCH=2.13.0 TRANSFORMERS=5.23.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "trl==$TRL" "math-verify==$MATH_VERIFY" \
    "latex2sympy2-extended==$LATEX2SYMPY2" "torch==$TORCH" "transformers==$TRANSFORMERS"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

from trl.rewards import accuracy_reward

CASES = (  # reference, completion, the reward that a reader would give, the one that is given
    (r"\frac{1}{3}", r"It is \boxed{\frac{1}{3}}.", 1.0, 1.0),
    (r"12\sqrt{3}", r"It is \boxed{12\sqrt{3}}.", 1.0, 0.0),
    (r"12\sqrt{3}", r"It is \boxed{12}.", 0.0, 1.0),
    (r"$12\sqrt{3}$", r"It is \boxed{12\sqrt{3}}.", 1.0, 1.0),
    (r"$12\sqrt{3}$", r"It is \boxed{12}.", 0.0, 0.0),
    ("y = 2x + 3", r"It is \boxed{3}.", 0.0, 1.0),
    ("7", r"It is \boxed{7}.", 1.0, 1.0),
    ("7", "It is 7.", 1.0, 0.0),
)
print(f"trl {metadata.version('trl')}, math-verify {metadata.version('math-verify')}")
changed = False
for reference, completion, expected, known in CASES:
    (reward,) = accuracy_reward([[{"role": "assistant", "content": completion}]], [reference])
    print(f"{reference} | {completion} | expected {expected}, given {reward}")
    changed |= reward != known
if changed:
    print("Changed.")
    sys.exit(1)
PYTHON
