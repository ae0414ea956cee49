#!/usr/bin/env bash
# ChartQA's five per cent are of any number, a year is one: for the question in which year something was highest, 1911
# is right where 2010 is, and no year within a century is wrong. A zero has no tolerance at all (0.0 is wrong for 0),
# and a percent sign on one side alone divides by a hundred: 42% is wrong where the reference is 42.
# Exits with 0 while that is so. Takes about 30 MB and the package index; Holdfast has no part in it.
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

file = metadata.distribution("lmms-eval").locate_file("lmms_eval/tasks/chartqa/utils.py")
grade = runpy.run_path(str(file))["chartqa_process_results"]
CASES = (  # question, reference, answer, whether it counts as right
    ("In which year was the share highest?", "2010", "1911", True),
    ("In which year was the share highest?", "2010", "2019", True),
    ("How many countries are above 10?", "0", "0.0", False),
    ("What is the value of the red bar?", "42", "42%", False),
    ("What is the value of the red bar?", "42%", "42", False),
    ("What is the value of the red bar?", "42", "43", True),
)


def right(reference, answer):
    return grade({"answer": reference, "type": "human_test"}, [answer])["relaxed_overall"] == 1.0


print(f"lmms-eval {metadata.version('lmms-eval')}, ChartQA")
seen = []
for question, reference, answer, _ in CASES:
    seen.append((question, reference, answer, right(reference, answer)))
    print(f"{question} Reference {reference}, answer {answer}: {'right' if seen[-1][3] else 'wrong'}")
years = sum(right("2010", str(year)) for year in range(1920, 2025))
print(f"Of the 105 years from 1920 to 2024, {years} are right for 2010.")
if not (tuple(seen) == CASES and years == 105):
    print("Changed.")
    sys.exit(1)
PYTHON
