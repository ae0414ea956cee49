#!/usr/bin/env bash
# supervision reads the boxes that a Qwen2.5-VL writes, names and all; without classes= the names stand beside the boxes
# and class_id is None, in the answers and in the references that are read in the same way. MeanAveragePrecision takes
# boxes without a class for boxes of one class: a model that calls every cat a dog and every dog a cat has a mAP of 1,
# and stays there whatever it forgets of names. F1Score, asked the same, refuses. With classes= both give 0.
# Exits with 0 while that is so. Takes about 500 MB and the package index; Holdfast has no part in it.
set -euo pipefail
SUPERVISION=0.31.2

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "supervision==$SUPERVISION"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import json
import sys

import supervision
from supervision.metrics import F1Score, MeanAveragePrecision

SIZE = (100, 100)
BOXES = [[10, 20, 30, 40], [50, 60, 80, 90]]


def detections(names, **classes):
    """What stands in a reply of Qwen2.5-VL with these names for two boxes."""
    found = [{"bbox_2d": box, "label": name} for box, name in zip(BOXES, names)]
    reply = f"```json\n{json.dumps(found)}\n```"
    return supervision.Detections.from_vlm(
        supervision.VLM.QWEN_2_5_VL, reply, input_wh=SIZE, resolution_wh=SIZE, **classes
    )


def measure(metric, names, **classes):
    try:
        result = metric().update([detections(names, **classes)], [detections(["cat", "dog"], **classes)]).compute()
    except ValueError as error:
        return str(error)
    return float(result.map50 if metric is MeanAveragePrecision else result.f1_50)


print(f"supervision {metadata.version('supervision')}; two boxes exactly found, a cat and a dog")
seen = []
for classes in ({}, {"classes": ["cat", "dog"]}):
    for names in (["cat", "dog"], ["dog", "cat"]):
        for metric in (MeanAveragePrecision, F1Score):
            value = measure(metric, names, **classes)
            seen.append(value if isinstance(value, float) else "refused")
            print(f"called {names[0]} and {names[1]}, {classes or 'no classes'}: {metric.__name__} {value}")
read = detections(["dog", "cat"])
print(f"without classes: class_id {read.class_id}, names {read.data['class_name'].tolist()}")
if seen != [1, "refused", 1, "refused", 1, 1, 0, 0]:
    print("Changed.")
    sys.exit(1)
PYTHON
