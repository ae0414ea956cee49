#!/usr/bin/env bash
# Python's difflib, and with it fuzzywuzzy where python-Levenshtein is not there, takes every letter that is more than
# a hundredth of a text of 200 characters or more for noise from which no match may start: in English nearly all of
# them. A page read without a fault after the words "Answer: " has a ratio of 0.01. It has 0.98 if the two texts are
# given in the other order, and 0.96 if both are cut to 190 characters. fuzzywuzzy gives 1 of 100, and 98 as soon as
# python-Levenshtein is there, for which it asks as the faster one. difflib's autojunk=False, not the default, ends it.
# Exits with 0 while that is so. Takes about 30 MB and the package index; Holdfast has no part in it.
set -euo pipefail
FUZZYWUZZY=0.18.0 LEVENSHTEIN=0.27.5

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "fuzzywuzzy==$FUZZYWUZZY"

cd "$folder" # nothing of a checkout is imported
cat >page.py <<'PYTHON'
import sys
import warnings
from difflib import SequenceMatcher
from importlib.metadata import version

PAGE = (
    "The committee met on Tuesday to discuss the budget for the coming year. Members agreed that the library should "
    "stay open on Saturdays and that the pool needs repairs before the summer. A vote on the new parking rules was "
    "put off until May."
)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from fuzzywuzzy import fuzz


def ratio(first, second, **options):
    return round(SequenceMatcher(None, first, second, **options).ratio(), 2)


answer = "Answer: " + PAGE
seen = {
    "difflib": ratio(answer, PAGE),
    "difflib, the two exchanged": ratio(PAGE, answer),
    "difflib, cut to 190 characters": ratio(answer[:190], PAGE[:190]),
    "difflib, autojunk=False": ratio(answer, PAGE, autojunk=False),
    "fuzzywuzzy": fuzz.ratio(answer, PAGE),
}
print(f"Python {sys.version.split()[0]}, fuzzywuzzy {version('fuzzywuzzy')}, {sys.argv[1]}; {len(PAGE)} characters")
for name, value in seen.items():
    print(f"{name}: {value}")
print(f"warnings: {[str(warning.message) for warning in caught if warning.category is UserWarning]}")
*ratios, score = seen.values()
if not (ratios == [0.01, 0.98, 0.96, 0.98] and score == int(sys.argv[2])):
    print("Changed.")
    sys.exit(1)
PYTHON
"$python" page.py "without python-Levenshtein" 1
"$python" -m pip install --disable-pip-version-check --quiet "python-Levenshtein==$LEVENSHTEIN"
"$python" page.py "with python-Levenshtein" 98
