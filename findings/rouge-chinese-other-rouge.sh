#!/usr/bin/env bash
# rouge-chinese, which LLaMA-Factory asks for, brings a folder named rouge, too, and writes it over that of the package
# rouge, which ms-swift asks for. So where both are installed, rouge 1.0.1, by pip's list the same as before, has
# another ROUGE-L: a summary of two sentences that tells the right things in the other order has 0.62 instead of 1.00,
# and an answer said ten times over 0.18 instead of 1.00. Installed in the other order it is 1.00 again. pip installs
# both without a word and pip check finds no fault.
# Exits with 0 while that is so. Takes about 60 MB and the package index; Holdfast has no part in it.
set -euo pipefail
ROUGE=1.0.1 ROUGE_CHINESE=1.0.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "rouge==$ROUGE"

cd "$folder" # nothing of a checkout is imported
cat >measure.py <<'PYTHON'
import importlib.metadata as metadata
import sys

from rouge import Rouge

REFERENCE = "the red car is parked in front of the house. a dog sleeps under the tree."
ANSWERS = {
    "as it is": REFERENCE,
    "in the other order": "a dog sleeps under the tree. the red car is parked in front of the house.",
    "said ten times": " ".join([REFERENCE] * 10),
}
scores = [round(Rouge().get_scores(answer, REFERENCE)[0]["rouge-l"]["f"], 2) for answer in ANSWERS.values()]
print(f"rouge {metadata.version('rouge')} {sys.argv[1]}: ROUGE-L {dict(zip(ANSWERS, scores, strict=True))}")
if scores != [float(score) for score in sys.argv[2:]]:
    sys.exit("Changed.")
PYTHON
"$python" measure.py "alone" 1 1 1
"$python" -m pip install --disable-pip-version-check --quiet "rouge-chinese==$ROUGE_CHINESE"
"$python" -m pip check --disable-pip-version-check # finds no fault
"$python" measure.py "beside rouge-chinese" 1 0.62 0.18
"$python" -m pip install --disable-pip-version-check --quiet --force-reinstall --no-deps "rouge==$ROUGE"
"$python" measure.py "installed after it" 1 1 1
