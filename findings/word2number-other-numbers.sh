#!/usr/bin/env bash
# word2number, with which graders read answers in words, takes all number words of a sentence together: "ten to
# fifteen" is 25, "two dogs and three cats" is 5, "nineteen ninety nine" is 1719. What it does not know is left out:
# "minus five" is 5, "two thirds" is 2, "3 million" is 1,000,000. Nothing is said, though other sentences are refused.
# Exits with 0 while that is so. Takes about 15 MB and the package index; Holdfast has no part in it.
set -euo pipefail
WORD2NUMBER=1.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "word2number==$WORD2NUMBER"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

from word2number.w2n import word_to_num

EXPECTED = {
    "twenty-one": 21,
    "two hundred and six": 206,
    "one point five": 1.5,
    "minus five": 5,
    "two thirds": 2,
    "three and a half": 3,
    "3 million": 1_000_000,
    "ten to fifteen": 25,
    "two or three": 5,
    "two dogs and three cats": 5,
    "one in five": 6,
    "nineteen ninety nine": 1719,
    "twenty twenty four": 404,
}
print(f"word2number {metadata.version('word2number')}")
seen = {answer: word_to_num(answer) for answer in EXPECTED}
for answer, number in seen.items():
    print(f"{answer}: {number}")
if seen != EXPECTED:
    print("Changed.")
    sys.exit(1)
PYTHON
