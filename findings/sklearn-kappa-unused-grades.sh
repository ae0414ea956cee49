#!/usr/bin/env bash
# cohen_kappa_score with weights counts how far two grades are apart in places among the grades that occur, not in
# points, though they are numbers. On a scale from 1 to 10 of which a person and two judges use 1, 2 and 10, a 2 for
# a 10 is one place off, as a 1 for a 2 is. So the two judges who do the one and the other once have quadratic kappas
# of 0.93 and 0.94; with labels=range(1, 11) they are 0.82 and 1.00 (0.996). One more answer, a 5 to all, puts a place
# between 2 and 10: 0.89 and 0.97, though all agree on it. Grades in words have the places of the alphabet, high, low,
# medium: 0.75. The documentation of weights and labels does not tell, and no warning is given.
# Exits with 0 while that is so. Takes about 250 MB and the package index; Holdfast has no part in it.
set -euo pipefail
SKLEARN=1.9.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "scikit-learn==$SKLEARN"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

from sklearn.metrics import cohen_kappa_score

PERSON = [1, 1, 1, 1, 2, 2, 2, 2, 10, 10, 10, 10]
JUDGES = {
    "1 for a 2": [1, 1, 1, 1, 2, 2, 2, 1, 10, 10, 10, 10],
    "2 for a 10": [1, 1, 1, 1, 2, 2, 2, 2, 10, 10, 10, 2],
}
WORDS = {1: "low", 2: "medium", 10: "high"}
print(f"scikit-learn {metadata.version('scikit-learn')}; the person's grades {PERSON}")
seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, judge in JUDGES.items():
        words = [[WORDS[grade] for grade in grades] for grades in (PERSON, judge)]
        kappas = {
            "as they are": cohen_kappa_score(PERSON, judge, weights="quadratic"),
            "one more answer, a 5 to both": cohen_kappa_score([*PERSON, 5], [*judge, 5], weights="quadratic"),
            "with all ten labels": cohen_kappa_score(PERSON, judge, weights="quadratic", labels=list(range(1, 11))),
            "in words": cohen_kappa_score(*words, weights="quadratic"),
        }
        seen.append([round(float(kappa), 2) for kappa in kappas.values()])
        print(f"{name}: {dict(zip(kappas, seen[-1], strict=True))}")
print(f"warnings: {len(caught)}")
if seen != [[0.94, 0.97, 1.0, 0.93], [0.93, 0.89, 0.82, 0.75]] or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
