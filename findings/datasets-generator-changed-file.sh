#!/usr/bin/env bash
# Dataset.from_generator keeps its rows by the generator's code and arguments. With datasets 5.2.0, after the file that
# the generator reads has a wrong answer mended and a row added, the same script goes on with the old rows and no word,
# and after disable_caching() still. load_dataset of the same file notices.
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
cat >script.py <<'PYTHON'
import json
import sys

import datasets

datasets.disable_progress_bars()
if "uncached" in sys.argv:
    datasets.disable_caching()


def rows(path):
    with open(path) as file:
        yield from map(json.loads, file)


generated = datasets.Dataset.from_generator(rows, gen_kwargs={"path": "rows.jsonl"})
loaded = datasets.load_dataset("json", data_files="rows.jsonl", split="train")
print(" ".join(generated["answer"]), "/", " ".join(loaded["answer"]))
PYTHON

"$python" -c "import datasets; print('datasets', datasets.__version__)"
echo '{"picture": "1.png", "answer": "cat"}' >rows.jsonl
before=$("$python" script.py)
echo "Answers (from_generator / load_dataset): $before"
echo '{"picture": "1.png", "answer": "dog"}' >rows.jsonl
echo '{"picture": "2.png", "answer": "fox"}' >>rows.jsonl
after=$("$python" script.py)
echo "An answer mended and a row added, the script run again: $after"
uncached=$("$python" script.py uncached)
echo "The same after disable_caching(): $uncached"
[ "$before, $after, $uncached" = "cat / cat, cat / dog fox, cat / dog fox" ] || { echo "Changed."; exit 1; }
