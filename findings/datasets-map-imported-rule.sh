#!/usr/bin/env bash
# Dataset.map and filter keep their results by the function, but of one that is imported they know the name alone:
# after a rule in a module is mended, the same script goes on with the old verdicts, and no word says so. A function
# that stands in the script itself is noticed when it changes, but not when what it imports does.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
echo '{"answer": "Yes", "reference": "yes"}' >rows.jsonl
cat >script.py <<'PYTHON'
import sys

import datasets
from rules import grade, same

datasets.disable_progress_bars()
if "uncached" in sys.argv:
    datasets.disable_caching()
rows = datasets.load_dataset("json", data_files="rows.jsonl", split="train")


def graded(row):
    return {"right": same(row["answer"], row["reference"])}


imported, own = rows.map(grade), rows.map(graded)
kept = rows.filter(lambda row: same(row["answer"], row["reference"]))
print(imported[0]["right"], own[0]["right"], len(kept))
PYTHON
rules() { # a module that holds two answers equal when the expression says so
    cat >rules.py <<PYTHON
def same(answer, reference):
    return $1


def grade(row):
    return {"right": same(row["answer"], row["reference"])}
PYTHON
}
export PYTHONDONTWRITEBYTECODE=1 # Python itself reads the module anew

"$python" -c "import datasets; print('datasets', datasets.__version__)"
rules "answer == reference"
before=$("$python" script.py)
echo "'Yes' for 'yes', equal to the letter (map of the rule, map of one's own function, rows of filter): $before"
rules "answer.lower() == reference.lower()"
after=$("$python" script.py)
echo "The module mended, whatever the case, and the script run again: $after"
uncached=$("$python" script.py uncached)
echo "The same without the cache: $uncached"
[ "$before / $after / $uncached" = "False False 0 / False False 0 / True True 1" ] || { echo "Changed."; exit 1; }
