#!/usr/bin/env bash
# Dataset.map keeps its results by the function and the rows; what it draws at random is no part of that. With datasets
# 5.2.0 a script that shuffles the options of its questions under seed 1, and is run again under seeds 2 and 3, has the
# order of seed 1 each time: three seeds are one, and their spread has no part from the order. Without the cache the
# three differ.
# Exits with 0 while that is so. Takes about 350 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
for question in 1 2 3 4 5 6; do
    echo "{\"question\": \"What is in picture $question?\", \"options\": [\"cat\", \"cow\", \"dog\", \"fox\"]}"
done >rows.jsonl
cat >script.py <<'PYTHON'
import random
import sys

import datasets
import numpy

datasets.disable_progress_bars()
if "uncached" in sys.argv:
    datasets.disable_caching()
random.seed(int(sys.argv[1]))
numpy.random.seed(int(sys.argv[1]))


def shuffled(row):
    return {"options": random.sample(row["options"], 4)}


def drawn(row):
    return {"options": list(numpy.random.permutation(row["options"]))}


rows = datasets.load_dataset("json", data_files="rows.jsonl", split="train")
for name, shuffle in (("random", shuffled), ("numpy", drawn)):
    letters = ["ABCD"[options.index("dog")] for options in rows.map(shuffle)["options"]]
    print(name, "".join(letters), end="; ")
PYTHON

"$python" -c "import datasets; print('datasets', datasets.__version__, '- the letter of the option dog in six rows')"
for how in cached uncached; do
    orders=()
    for seed in 1 2 3; do
        orders+=("$("$python" script.py "$seed" "$how")")
        echo "$how, seed $seed: ${orders[-1]}"
    done
    different=$(printf '%s\n' "${orders[@]}" | sort -u | wc -l)
    echo "$how: $different different orders of three seeds"
    [ "$how $different" = "cached 1" ] || [ "$how $different" = "uncached 3" ] || { echo "Changed."; exit 1; }
done
