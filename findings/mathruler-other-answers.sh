#!/usr/bin/env bash
# mathruler's grade_answer calls other answers equal: words whose letters are the same symbols in another order
# ("no" and "on"), names of units, which it takes away ("yard" and "feet"; "day" and nothing), "or" and "and", and
# numbers that are both nearly whole (1.6e-19 and 6.63e-34).
# Exits with 0 while that is so. Takes about 100 MB and the package index; Holdfast has no part in it.
set -euo pipefail
MATHRULER=0.1.0 PYLATEXENC=2.10 SYMPY=1.14.0 TQDM=4.67.1 # the last three it imports, but does not require

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "mathruler==$MATHRULER" "pylatexenc==$PYLATEXENC" "sympy==$SYMPY" "tqdm==$TQDM"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

from mathruler.grader import grade_answer

print(f"mathruler {metadata.version('mathruler')}, sympy {metadata.version('sympy')}")
pairs = (
    ("no", "on"), ("yard", "feet"), ("", "day"), ("red or white", "red and white"), ("1.6e-19", "6.63e-34")
)
verdicts = [grade_answer(answer, reference) for answer, reference in pairs]
for (answer, reference), same in zip(pairs, verdicts, strict=True):
    print(f"{answer!r} for {reference!r}: {'equal' if same else 'not equal'}")
if not all(verdicts):
    print("Changed: not all are equal.")
    sys.exit(1)
PYTHON
