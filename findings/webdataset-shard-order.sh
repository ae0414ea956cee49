#!/usr/bin/env bash
# WebDataset(shardshuffle=100) takes its shards in one order in every epoch, with a seed of the user's or without:
# the generator begins anew from the same seed each time. If an epoch is made shorter by with_epoch, it is made of the
# same shards each time: after 10 epochs of 20 rows no more than 30 rows of 80 were trained on, some of them 10 times.
# What shuffle(1000, seed=0) shuffles has one order in all epochs, too. With detshuffle=True, "deterministic" by its
# name, each epoch has an order of its own. The documentation calls shardshuffle "the number of shards to shuffle".
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
WEBDATASET=1.0.2 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "webdataset==$WEBDATASET" "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings
from collections import Counter

import webdataset

SHARDS, ROWS, EPOCHS = 8, 10, 10
for shard in range(SHARDS):
    with webdataset.TarWriter(f"shard-{shard}.tar") as writer:
        for row in range(ROWS):
            writer.write({"__key__": f"{shard}{row:02d}", "cls": shard * ROWS + row})


def stream(**settings):
    return webdataset.WebDataset(f"shard-{{0..{SHARDS - 1}}}.tar", shardshuffle=100, **settings).decode()


def epochs(rows, count):
    return [[row["cls"] for row in rows] for _ in range(count)]


def shards(rows):
    """Of each of three epochs the order of its shards."""
    return [list(dict.fromkeys(row // ROWS for row in epoch)) for epoch in epochs(rows, 3)]


def trained(rows):
    """How many rows were trained on in ten epochs of 20, and how often the most frequent one was."""
    counts = Counter(row for epoch in epochs(rows.shuffle(10).with_epoch(20), EPOCHS) for row in epoch)
    return len(counts), max(counts.values())


print(f"webdataset {metadata.version('webdataset')}, {SHARDS} shards of {ROWS} rows")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    warnings.simplefilter("ignore", ResourceWarning)  # of files that are left open
    orders, counts = {}, {}
    for name, settings in (("", {}), (", seed=0", {"seed": 0}), (", detshuffle=True", {"detshuffle": True})):
        orders[name], counts[name] = shards(stream(**settings)), trained(stream(**settings))
        print(f"shardshuffle=100{name}: shards of three epochs {orders[name]}")
        print(f"    {EPOCHS} epochs of 20 rows: {counts[name][0]} rows of 80, one of them {counts[name][1]} times")
    again = epochs(stream().shuffle(1000, seed=0), 3)
alike = again[0] == again[1] == again[2]
print(f"shuffle(1000, seed=0): one order in all epochs {alike}; warnings: {len(caught)}")
repeats = {name: len({tuple(order) for order in found}) for name, found in orders.items()}
few = all(counts[name][0] <= 30 and counts[name][1] >= 9 for name in ("", ", seed=0"))
if not (repeats == {"": 1, ", seed=0": 1, ", detshuffle=True": 3} and few and alike and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
