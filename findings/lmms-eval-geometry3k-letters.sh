#!/usr/bin/env bash
# The letter of an option in lmms-eval's Geometry3K is, but for a few forms, the last one of A to D that stands alone,
# in either case: the article of "The answer is B, because it is a right triangle." is option A, and so it is graded.
# Points and sides of the figure count alike: in "Choose B, the length of side c." it is C.
# Exits with 0 while that is so. Takes about 30 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LMMS_EVAL=0.7.3 PILLOW=13.0.0 # the second for its import alone

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "pillow==$PILLOW"
pip install --no-deps "lmms-eval==$LMMS_EVAL"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys

file = metadata.distribution("lmms-eval").locate_file("lmms_eval/tasks/geometry3k/utils.py")
grade = runpy.run_path(str(file))["geometry3k_process_results"]
CASES = (  # a reply that says B, and what it is taken for
    ("B", "B"),
    ("The answer is B.", "B"),
    ("The answer is B, because it is a right triangle.", "A"),
    ("Choose B, the length of side c.", "C"),
    ("B, by the theorem of Pythagoras at the corner D", "D"),
)


def taken_for(reply):
    choices = ["5", "12", "13", "17"]
    letters = [
        letter for letter in "ABCD" if any(grade({"ground_truth": letter, "choices": choices}, [reply]).values())
    ]
    return "".join(letters) or "none"


print(f"lmms-eval {metadata.version('lmms-eval')}, Geometry3K")
seen = [(reply, taken_for(reply)) for reply, _ in CASES]
for reply, letter in seen:
    print(f"{reply!r}: option {letter}")
if seen != list(CASES):
    print("Changed.")
    sys.exit(1)
PYTHON
