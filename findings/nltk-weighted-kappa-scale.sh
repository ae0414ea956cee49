#!/usr/bin/env bash
# nltk's weighted_kappa takes the largest distance of the scale, max_distance, and divides one half of the measure by
# it, the disagreement that chance would give, but not the other, the one observed. So two judges who grade from 1 to 10
# and are at most one point apart have a kappa of 0.86 without it, as from scikit-learn, and of -0.29 with the right
# one, 9: worse than by chance. With squares it is 0.97 and -1.28. It should not matter at all; nothing is said of it.
# Exits with 0 while that is so. Takes about 250 MB and the package index; Holdfast has no part in it.
set -euo pipefail
NLTK=3.10.4 SCIKIT_LEARN=1.9.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "nltk==$NLTK" "scikit-learn==$SCIKIT_LEARN"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import random
import sys

from nltk.metrics import interval_distance
from nltk.metrics.agreement import AnnotationTask
from sklearn.metrics import cohen_kappa_score

draw = random.Random(0)
FIRST = [draw.randint(1, 10) for _ in range(100)]
SECOND = [min(10, max(1, grade + draw.choice([-1, 0, 0, 1]))) for grade in FIRST]
DISTANCES = {"linear": (lambda one, other: abs(one - other), 9), "quadratic": (interval_distance, 81)}

rows = [(judge, item, grade) for judge in ("first", "second") for item, grade in
        enumerate(FIRST if judge == "first" else SECOND)]  # fmt: skip
print(f"nltk {metadata.version('nltk')}, 100 grades from 1 to 10 of two judges, at most 1 apart")
seen = {}
for weights, (distance, largest) in DISTANCES.items():
    task = AnnotationTask(rows, distance=distance)
    seen[weights] = {
        "scikit-learn": cohen_kappa_score(FIRST, SECOND, weights=weights),
        "nltk": task.weighted_kappa(),
        f"nltk, max_distance={largest}": task.weighted_kappa(max_distance=largest),
    }
    print(f"{weights}: " + ", ".join(f"{name} {kappa:.2f}" for name, kappa in seen[weights].items()))
(same, plain, scaled), (square, square_plain, square_scaled) = (kappas.values() for kappas in seen.values())
exact = abs(same - plain) < 1e-9 and abs(square - square_plain) < 1e-9
if not (exact and plain > 0.85 and abs((1 - scaled) / (1 - plain) - 9) < 1e-6 and scaled < 0 and square_scaled < 0):
    print("Changed.")
    sys.exit(1)
PYTHON
