#!/usr/bin/env bash
# An object that is found exactly is not found in pycocotools, if its annotation has the id 0, as the first one has of
# those numbered by enumerate: the id of the object is also the sign that a box belongs to one, and 0 is none. All else
# right, a class with one object has an average precision of 0, one with four 0.56; and which class it is goes by the
# order of the annotations. From 1 on all are 1. Nothing is said.
# Exits with 0 while that is so. Takes about 120 MB and the package index; Holdfast has no part in it.
set -euo pipefail
PYCOCOTOOLS=2.0.11

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "pycocotools==$PYCOCOTOOLS"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import json
import sys
import warnings
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CLASSES = {1: "sign", 2: "car"}
OBJECTS = [1, 2, 2, 2, 2]  # the class of each; a picture for each
BOX = [10.0, 10.0, 40.0, 40.0]


def precisions(objects, first):
    """The average precision of each class, of boxes that are those of the annotations, numbered from first on."""
    pictures = [{"id": picture, "width": 64, "height": 64} for picture in range(len(objects))]
    annotations = [
        {"id": number, "image_id": picture, "category_id": kind, "bbox": BOX, "area": 1600.0, "iscrowd": 0}
        for number, (picture, kind) in enumerate(enumerate(objects), start=first)
    ]
    classes = [{"id": kind, "name": name} for kind, name in CLASSES.items()]
    references = {"images": pictures, "annotations": annotations, "categories": classes}
    Path("references.json").write_text(json.dumps(references))
    found = [
        {"image_id": picture, "category_id": kind, "bbox": BOX, "score": 0.9} for picture, kind in enumerate(objects)
    ]
    values = {}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO("references.json")
        answers = coco.loadRes(found)
        for kind, name in CLASSES.items():
            evaluation = COCOeval(coco, answers, "bbox")
            evaluation.params.catIds = [kind]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            values[name] = round(float(evaluation.stats[0]), 2)
    return values


print(f"pycocotools {metadata.version('pycocotools')}; a sign and four cars, all exactly found")
seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for objects, order in ((OBJECTS, "the sign first"), (OBJECTS[::-1], "the sign last")):
        for first in (0, 1):
            seen.append(precisions(objects, first))
            print(f"annotations numbered from {first} on, {order}: average precision {seen[-1]}")
print(f"warnings: {len(caught)}")
right = {"sign": 1.0, "car": 1.0}
if not (seen == [{"sign": 0.0, "car": 1.0}, right, {"sign": 1.0, "car": 0.56}, right] and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
