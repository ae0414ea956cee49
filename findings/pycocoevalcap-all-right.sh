#!/usr/bin/env bash
# With every answer that of the reference, CIDEr of pycocoevalcap is 10 for captions, 2.5 for answers of one word and 0
# for captions that are all alike, as in a task of one class, or for one caption: a word counts by how few have it of
# the pictures that are measured together. So the same answers have another CIDEr beside those of another task, 3.95
# where it was 2.5, and tasks measured one by one do not make up the whole.
# Exits with 0 while that is so. Takes about 120 MB and the package index; Holdfast has no part in it.
set -euo pipefail
PYCOCOEVALCAP=1.2

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "pycocoevalcap==$PYCOCOEVALCAP"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

from pycocoevalcap.cider.cider import Cider

SCENES = ["a man rides a horse", "two dogs play in the snow", "a red car on a wet street", "a cat sleeps on a sofa"]
ALIKE = ["a photo of a dog"] * 4
ANIMALS = ["a photo of a dog", "a photo of a cat", "a photo of a cow", "a photo of a hen"]


def cider(references, answers=None):
    """CIDEr of all, and of each, by default of answers that are those of the references."""
    texts = [{number: [text] for number, text in enumerate(side)} for side in (references, answers or references)]
    score, each = Cider().compute_score(*texts)
    return round(float(score), 2), [round(float(value), 2) for value in each]


print(f"pycocoevalcap {metadata.version('pycocoevalcap')}, CIDEr")
right = {
    "captions": cider(SCENES)[0],
    "answers of one word": cider(["red", "left", "two", "oak"])[0],
    "captions all alike": cider(ALIKE)[0],
    "one caption": cider(SCENES[:1])[0],
}
print(f"all as the reference: {right}")
alone = cider(ANIMALS, ALIKE)[0]  # a dog in every picture
beside = cider(ANIMALS + SCENES, ALIKE + SCENES)[1][: len(ANIMALS)]
beside = round(sum(beside) / len(beside), 2)
print(f"a dog for each of four animals: {alone}; the same beside another task's pictures: {beside}")
if not (list(right.values()) == [10.0, 2.5, 0.0, 0.0] and (alone, beside) == (2.5, 3.95)):
    print("Changed.")
    sys.exit(1)
PYTHON
