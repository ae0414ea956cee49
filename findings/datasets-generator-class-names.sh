#!/usr/bin/env bash
# A list among the gen_kwargs of Dataset.from_generator is dealt out, one item a call: of a generator that gets the
# names of three classes and numbers rows by them every row is of class 0, and there are three times as many rows.
# IterableDataset.from_generator does the same. A tuple of the same names is handed on whole. The documentation says
# that lists are split if num_proc is greater than one, and of the iterable set that a list of shards can be given, "to
# improve shuffling"; here there is one process, and nothing is shuffled.
# Exits with 0 while that is so. Takes about 500 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

from datasets import Dataset, IterableDataset, disable_progress_bars

NAMES = ["cat", "dog", "bird"]


def rows(names, count):
    for number in range(count):
        label = number % len(names)
        yield {"question": f"Is picture {number} a {names[label]}?", "label": label}


disable_progress_bars()
seen = {"the generator itself": list(rows(NAMES, 6))}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for form in (list, tuple):
        given = {"names": form(NAMES), "count": 6}
        for kind in (Dataset, IterableDataset):
            seen[f"{kind.__name__}, {form.__name__}"] = list(kind.from_generator(rows, gen_kwargs=given))
labels = {name: [row["label"] for row in found] for name, found in seen.items()}
print(f"datasets {metadata.version('datasets')}, labels of the rows that one generator makes, warnings: {len(caught)}")
for name, found in labels.items():
    print(f"{name}: {found}")
turn, first = [0, 1, 2, 0, 1, 2], [0] * 18
if list(labels.values()) != [turn, first, first, turn, turn] or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
