#!/usr/bin/env bash
# The reader of option letters that MMStar, MMBench, RealWorldQA and Video-MME share in lmms-eval takes the last capital
# A, B, C or D after "the answer is": "The answer is B. Denmark" is D, and a model that says its option's text, too, is
# right or wrong by that text's capitals. An article at the start ("A red car ...") is option A, and "C is wrong. The
# answer is B" is C. The bare letter is read as it is meant.
# Exits with 0 while that is so. Takes about 10 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LMMS_EVAL=0.7.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "lmms-eval==$LMMS_EVAL"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys

file = metadata.distribution("lmms-eval").locate_file("lmms_eval/tasks/_task_utils/mcq_extract.py")
read = runpy.run_path(str(file))["extract_mcq_answer"]
LETTERS = ["A", "B", "C", "D"]
CASES = (  # a reply that means B, and what it is read as
    ("B", "B"),
    ("The answer is B.", "B"),
    ("The answer is (B).", "B"),
    ("The answer is B. Denmark", "D"),
    ("The answer is **B. Denmark**.", "D"),
    ("The answer is (B), as the Cat shows.", "C"),
    ("The best answer is B, not A.", "A"),
    ("I choose B. Aspirin is an acid.", "A"),
    ("C is wrong. The answer is B", "C"),
    ("A red car is shown, so the answer is B", "A"),
)
COUNTRIES = "Austria", "Belgium", "Chile", "Denmark", "Estonia", "France", "Ghana", "Hungary"

print(f"lmms-eval {metadata.version('lmms-eval')}")
seen = [(reply, read(reply, choices=LETTERS)) for reply, _ in CASES]
for reply, letter in seen:
    print(f"{reply!r} is read as {letter}")
replies = [f"The correct answer is {letter}. {country}" for letter in LETTERS for country in COUNTRIES]
wrong = sum(read(reply, choices=LETTERS) != reply.split(".")[0][-1] for reply in replies)
print(f'Of {len(replies)} replies "The correct answer is LETTER. COUNTRY", {wrong} are read as another letter.')
if not (tuple(seen) == CASES and wrong == 12):
    print("Changed.")
    sys.exit(1)
PYTHON
