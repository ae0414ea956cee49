#!/usr/bin/env bash
# HELM's "prefix quasi-exact match" asks if an answer begins with the reference once articles and punctuation are taken
# out of both. A reference that is an article or a sign, as the option A, the words "the" and "an" or the operators +
# and %, is nothing then, and every answer begins with nothing: of eight such questions a model that always says "I do
# not know." has eight right. (Option B and all others are compared.) Minus signs and decimal points go, too: 5 is
# right for -5 and 35 for 3.5. It is described as "matches the prefix of a correct reference up to light processing".
# Exits with 0 while that is so. Takes about 700 MB and the package index; Holdfast has no part in it.
set -euo pipefail
HELM=0.5.16 NLTK=3.10.4 ROUGE_SCORE=0.1.2 DATASETS=3.6.0 SCIKIT_LEARN=1.9.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "nltk==$NLTK" "rouge-score==$ROUGE_SCORE" "datasets==$DATASETS" "scikit-learn==$SCIKIT_LEARN" \
    "pandas~=2.3" "cattrs~=22.2.0" "colorlog" "dacite" "Mako" "pyhocon" "retrying" "sqlitedict" \
    "zstandard~=0.18.0"
pip install --no-deps "crfm-helm==$HELM" # its measures need nothing else

cd "$folder" # nothing of a checkout is imported
NLTK_DATA="$folder" "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys

from helm.benchmark.metrics.evaluate_reference_metrics import exact_match, prefix_exact_match, quasi_prefix_exact_match

NOTHING = ["A", "a", "An", "the", "+", "%", "<=", "?"]
OTHERS = [("B", "C"), ("B", "D. Rome"), ("cat", "dog"), ("-5", "5"), ("3.5", "35")]
SCORES = exact_match, prefix_exact_match, quasi_prefix_exact_match


def scores(reference, answer):
    return {score.__name__: score(reference, answer) for score in SCORES}


print(f"crfm-helm {metadata.version('crfm-helm')}; the answer is wrong each time")
seen = {}
for reference, answer in [(reference, "I do not know.") for reference in NOTHING] + OTHERS:
    seen[reference, answer] = scores(reference, answer)
    print(f"reference {reference!r}, answer {answer!r}: {seen[reference, answer]}")
found = [score["quasi_prefix_exact_match"] for score in seen.values()]
strict = {name: sum(score[name] for score in seen.values()) for name in ("exact_match", "prefix_exact_match")}
print(f"right in all: {sum(found)} of {len(found)} by quasi_prefix_exact_match, {strict}")
if not (found == [1] * 8 + [0, 0, 0, 1, 1] and strict == {"exact_match": 0, "prefix_exact_match": 0}):
    print("Changed.")
    sys.exit(1)
PYTHON
