#!/usr/bin/env bash
# A model is sure where it is right and unsure where it is wrong: roc_auc_score of scikit-learn is 0 if the verdicts are
# called right and wrong, or correct and incorrect, and 1 if they are called true and false, or pass and fail. The word
# that is later in the alphabet is the one that the confidences are for; log_loss, too, takes them so. Nothing is said;
# roc_curve, average_precision_score, brier_score_loss and f1_score refuse such words until one is named.
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

from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score, roc_curve

CONFIDENCES = [0.9, 0.8, 0.7, 0.4, 0.3, 0.2]  # the first three answers are right
WORDS = ("right", "wrong"), ("correct", "incorrect"), ("true", "false"), ("pass", "fail")


def refuses(metric, verdicts, other):
    try:
        metric(verdicts, other)
    except ValueError:
        return True
    return False


print(f"scikit-learn {metadata.version('scikit-learn')}; all right answers are surer than all wrong ones")
seen, refused = {}, True
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for right, wrong in WORDS:
        verdicts = [right] * 3 + [wrong] * 3
        area, loss = roc_auc_score(verdicts, CONFIDENCES), log_loss(verdicts, CONFIDENCES)
        seen[right, wrong] = float(area), round(float(loss), 2)
        print(f"{right} and {wrong}: roc_auc_score {area}, log_loss {loss:.2f}")
        refused &= refuses(f1_score, verdicts, verdicts)
        refused &= all(
            refuses(metric, verdicts, CONFIDENCES) for metric in (roc_curve, average_precision_score, brier_score_loss)
        )
print(f"The other four refuse the words: {refused}; warnings: {len(caught)}")
if not (list(seen.values()) == [(0.0, 1.47)] * 2 + [(1.0, 0.3)] * 2 and refused and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
