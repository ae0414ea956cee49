#!/usr/bin/env bash
# A stream is shuffled, its first 1,000 rows are held out by take and the others are trained on by skip: a split, in the
# first epoch. set_epoch, which Trainer and accelerate call before each, shuffles anew below skip, so that it leaves out
# other rows: in the second epoch a third of the held-out rows is trained on, and as many others never are. After four
# epochs it is two thirds, of 100 held-out rows all. Taken before it is shuffled, the split stays.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" - <<'PYTHON'
import importlib.metadata as metadata
import json
import sys
from pathlib import Path

import datasets

datasets.disable_progress_bars()
ROWS, EPOCHS = 10_000, 4
Path("rows.jsonl").write_text("".join(json.dumps({"id": number}) + "\n" for number in range(ROWS)))
STREAM = datasets.load_dataset("json", data_files="rows.jsonl", split="train", streaming=True)


def ids(rows):
    return {row["id"] for row in rows}


def leaks(held_out, training):
    """Of the held-out rows, those that were trained on after each epoch."""
    judged, trained, counts = ids(held_out), set(), []
    for epoch in range(EPOCHS):
        training.set_epoch(epoch)
        trained |= ids(training)
        counts.append(len(judged & trained))
    return counts


print(f"datasets {metadata.version('datasets')}, {ROWS} rows; held-out rows that were trained on after each epoch")
seen = {}
for count in (1000, 100):
    shuffled = STREAM.shuffle(seed=0, buffer_size=1000)
    seen[count] = leaks(shuffled.take(count), shuffled.skip(count))
    print(f"Shuffled, then {count} rows held out: {seen[count]}")
kept = leaks(STREAM.take(1000), STREAM.skip(1000).shuffle(seed=0, buffer_size=1000))
print(f"1000 rows held out, then shuffled: {kept}")
first, second, *_, last = seen[1000]
if not (first == seen[100][0] == 0 and second > 200 and last > 500 and seen[100][-1] > 90 and kept == [0] * EPOCHS):
    print("Changed.")
    sys.exit(1)
PYTHON
