#!/usr/bin/env bash
# In litdata's CombinedStreamingDataset weights are shares of the rows. With batching_method="per_stream", where each
# batch is of one dataset, a batch is never of the same dataset as the one before it: two datasets take turns, whatever
# their weights, and a replay of 10 % of the old task is one of 50 %. Of three the heaviest has 50 % at most. Nothing is
# said of it; with the default batching_method ("stratified") the shares are those that were asked for.
# Exits with 0 while that is so. Takes about 1.2 GB and the package index; Holdfast has no part in it.
set -euo pipefail
LITDATA=0.2.76 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "litdata==$LITDATA" "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
cat >shares.py <<'PYTHON' # a file: optimize() starts processes that read it
import importlib.metadata as metadata
import sys
from functools import partial

from litdata import CombinedStreamingDataset, StreamingDataLoader, StreamingDataset, optimize

BATCH, STEPS = 8, 200
NAMES = "old", "new", "third"
CASES = (0.1, 0.9), (0.25, 0.75), (0.5, 0.5), (0.1, 0.8, 0.1)


def row(number, task):
    return {"task": task, "number": number}


def shares(weights, method):
    """The part of the rows that each dataset has in STEPS batches, and whether two batches in a row are of one."""
    parts = [StreamingDataset(name, shuffle=True) for name in NAMES[: len(weights)]]
    mixed = CombinedStreamingDataset(parts, weights=weights, iterate_over_all=False, batching_method=method)
    rows = []
    for batch, _ in zip(StreamingDataLoader(mixed, batch_size=BATCH), range(STEPS)):
        rows.append(batch["task"])
    assert len(rows) == STEPS and all(len(tasks) == BATCH for tasks in rows)
    again = any(first == second and len(set(first)) == 1 for first, second in zip(rows, rows[1:]))
    return tuple(sum(tasks.count(name) for tasks in rows) / BATCH / STEPS for name in NAMES[: len(weights)]), again


if __name__ == "__main__":
    for name in NAMES:
        optimize(partial(row, task=name), inputs=list(range(2000)), output_dir=name, chunk_size=500, num_workers=1)
    print(f"litdata {metadata.version('litdata')}, the rows of {STEPS} batches of {BATCH}", file=sys.stderr)
    changed = False
    for weights in CASES:
        mixed, _ = shares(weights, "stratified")
        turns, again = shares(weights, "per_stream")
        words = [", ".join(f"{share:.3f}" for share in found) for found in (mixed, turns)]
        print(f"weights {weights}: stratified {words[0]}; per_stream {words[1]}", file=sys.stderr)
        changed |= any(abs(share - weight) > 0.04 for share, weight in zip(mixed, weights))
        changed |= again or (turns != (0.5, 0.5) if len(weights) == 2 else max(turns) > 0.5)
    if changed:
        print("Changed.", file=sys.stderr)
        sys.exit(1)
PYTHON
HOME="$folder" "$python" -W ignore shares.py 2>&1 >log.txt | grep -E "^(litdata|weights|Changed|Traceback|[A-Za-z]*Error)"
