#!/usr/bin/env bash
# Two sets with the same classes in another order are not concatenated, and datasets says that their features cannot be
# aligned. After set.cast(other.features), which does align them, every dog is a cat: a cast to a ClassLabel keeps the
# numbers and exchanges the names, though the same cast of names goes by the names. Nothing is said.
# Exits with 0 while that is so. Takes about 350 MB and the package index; Holdfast has no part in it.
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
import sys
import warnings

from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets, disable_progress_bars

disable_progress_bars()
COLUMN = {"picture": Value("string")}
PICTURES = {"picture": ["cat.png", "dog.png"]}


def task(*names):
    """A picture of a cat and one of a dog, each with its name, as a class."""
    features = Features({**COLUMN, "label": ClassLabel(names=list(names))})
    return Dataset.from_dict({**PICTURES, "label": [names.index("cat"), names.index("dog")]}, features=features)


def names(rows):
    return dict(zip(rows["picture"], map(rows.features["label"].int2str, rows["label"]), strict=True))


first, second = task("cat", "dog"), task("dog", "cat")
try:
    concatenate_datasets([first, second])
    refused = False
except ValueError:
    refused = True
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    cast = second.cast(first.features)
    together = concatenate_datasets([first, cast])
plain = Dataset.from_dict({**PICTURES, "label": ["cat", "dog"]}).cast(first.features)
print(f"datasets {metadata.version('datasets')}")
print(f"Before the cast: {names(second)}; concatenated with a set of the other order: {'no' if refused else 'yes'}")
print(f"After it: {names(cast)}; concatenated, {len(together)} rows; warnings: {len(caught)}")
print(f"Cast from names, for comparison: {names(plain)}")
right, wrong = {"cat.png": "cat", "dog.png": "dog"}, {"cat.png": "dog", "dog.png": "cat"}
if not (refused and names(second) == names(plain) == right and names(cast) == wrong and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
