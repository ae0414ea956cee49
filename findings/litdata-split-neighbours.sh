#!/usr/bin/env bash
# train_test_split of litdata has a setting "to shuffle the data before splitting", which is on, and shuffles chunks: of
# 1,000 rows of five tasks, written one task after the other in chunks of 100, a test set of 20 % is rows 100 to 199 and
# 700 to 799, of two of the tasks; no seed of ten has a test set of more than two. With chunks of 64 MB, the default, a
# test set of a few thousand pictures is a few runs of neighbours, which are often pictures of one source. A subsample
# of 0.2 is made the same way. The documentation of the split does not mention chunks.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
LITDATA=0.2.76 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "litdata==$LITDATA" "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import os
import sys
import warnings
from pathlib import Path

os.environ["LITDATA_CACHE_DIR"] = str(Path("cache").absolute())  # read at the import that follows
from litdata import StreamingDataset, train_test_split
from litdata.streaming.writer import BinaryWriter

TASKS = ["charts", "receipts", "maps", "tables", "letters"]

writer = BinaryWriter("rows", chunk_size=100)  # what optimize() writes with
for number in range(1000):
    writer[number] = {"row": number, "task": TASKS[number // 200]}
writer.done()
writer.merge()


def runs(rows):
    """The first and the last row of each run of neighbours."""
    rows = sorted(rows)
    starts = [row for row in rows if row - 1 not in rows]
    ends = [row for row in rows if row + 1 not in rows]
    return list(zip(starts, ends, strict=True))


print(f"litdata {metadata.version('litdata')}, 1000 rows of five tasks in their order, 100 rows a chunk")
tasks = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for seed in (42, *range(9)):
        _, test = train_test_split(StreamingDataset("rows"), splits=[0.8, 0.2], seed=seed)
        rows = list(test)
        tasks[seed] = {row["task"] for row in rows}
        if seed in (42, 0, 1):
            found = runs({row["row"] for row in rows})
            print(f"test set with seed {seed}: {len(rows)} rows, {found}, of {sorted(tasks[seed])}")
    sample = list(StreamingDataset("rows", shuffle=True, subsample=0.2))
    print(f"subsample=0.2: {len(sample)} rows, {runs({row['row'] for row in sample})}")
print(f"tasks in the test sets of ten seeds: {[len(names) for names in tasks.values()]}")
said = "shuffle the data before splitting" in train_test_split.__doc__ and "chunk" not in train_test_split.__doc__
if not (said and max(map(len, tasks.values())) == 2 and len(runs({row["row"] for row in sample})) <= 2):
    print("Changed.")
    sys.exit(1)
PYTHON
