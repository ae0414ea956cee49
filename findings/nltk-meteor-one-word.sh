#!/usr/bin/env bash
# METEOR of NLTK gives the right answer of one word a half: what is matched is one chunk, as it should be, and the
# penalty for chunks, one for one word, takes half away. Two right words have 0.94, ten have 0.9995, and the sentence in
# which one word of ten is wrong is better than the word that is right. The mean over right answers tells how long they
# are. METEOR's own program has no penalty for an answer that is the reference; NLTK says neither.
# Exits with 0 while that is so. Takes about 50 MB and the package index; Holdfast has no part in it.
set -euo pipefail
NLTK=3.10.4

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "nltk==$NLTK"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

from nltk.translate.meteor_score import meteor_score


class NoSynonyms:
    """In the place of WordNet, which would have to be downloaded; none of the words below needs one."""

    def synsets(self, word):
        return []


LONG = "two small dogs play with a red ball in snow"
CASES = (  # answer, reference, METEOR
    ("B", "B", 0.5),
    ("42", "42", 0.5),
    ("yes", "yes", 0.5),
    ("red car", "red car", 0.9375),
    (LONG, LONG, 0.9995),
    (LONG.replace("red", "blue"), LONG, 0.895),
)
print(f"nltk {metadata.version('nltk')}, meteor_score; expected of what is alike: 1")
changed = False
for answer, reference, known in CASES:
    score = meteor_score([reference.split()], answer.split(), wordnet=NoSynonyms())
    print(f"{answer!r} for {reference!r}: {score:.4f}")
    changed |= abs(score - known) > 0.006
if changed:
    print("Changed.")
    sys.exit(1)
PYTHON
