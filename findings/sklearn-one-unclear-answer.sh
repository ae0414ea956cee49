#!/usr/bin/env bash
# Of 1,000 yes-no questions all are answered right but one, whose answer is "unclear": scikit-learn's macro-averaged F1
# is 0.67. The word makes a third class, of an F1 of 0, and macro counts classes alike; nothing is said. Ten different
# such answers in 1,000, and it is 0.17. With labels=["yes", "no"] it is 0.999 and 0.995, as accuracy is or nearly.
# Exits with 0 while that is so. Takes about 250 MB and the package index; Holdfast has no part in it.
set -euo pipefail
SCIKIT_LEARN=1.9.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "scikit-learn==$SCIKIT_LEARN"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

from sklearn.metrics import accuracy_score, f1_score

REFERENCES = ["yes", "no"] * 500
print(f"scikit-learn {metadata.version('scikit-learn')}, {len(REFERENCES)} yes-no questions, all others right")
seen, silent = [], True
for unclear in (0, 1, 10):
    answers = [f"it is unclear ({number})" for number in range(unclear)] + REFERENCES[unclear:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        macro = f1_score(REFERENCES, answers, average="macro")
    named = f1_score(REFERENCES, answers, average="macro", labels=["yes", "no"])
    accuracy = accuracy_score(REFERENCES, answers)
    seen.append((round(accuracy, 3), round(macro, 2), round(named, 3)))
    silent &= not caught
    print(f"{unclear} unclear: accuracy {accuracy:.3f}, macro F1 {macro:.2f}, with labels {named:.3f}")
if not (silent and seen == [(1.0, 1.0, 1.0), (0.999, 0.67, 0.999), (0.99, 0.17, 0.995)]):
    print("Changed.")
    sys.exit(1)
PYTHON
