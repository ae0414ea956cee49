#!/usr/bin/env bash
# interleave_datasets draws by chance which set the next row comes from, not which row of it. So of an old task with
# 1,000 rows that is replayed with a probability of 0.1 beside 900 new rows, always the first hundred or so are taken:
# ten epochs of a stream replay 1,018 rows, which are 122 different ones, about 8 times each, and 878 rows never. Ten
# mixtures with ten seeds have 111 different ones. With shuffle(buffer_size=100), which is a window that moves along,
# they are 171, none beyond row 197. Only if the old task is shuffled whole before are they 660.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

from datasets import Dataset, interleave_datasets

NEW = Dataset.from_dict({"task": ["new"] * 900, "row": list(range(900))})
OLD = Dataset.from_dict({"task": ["old"] * 1000, "row": list(range(1000))})
MIXTURE = dict(probabilities=[0.9, 0.1])


def replayed(mixtures):
    """How many rows of the old task the mixtures have, how many different ones, and the last of them."""
    rows = [row["row"] for mixture in mixtures for row in mixture if row["task"] == "old"]
    return len(rows), len(set(rows)), max(rows)


def epochs(old):
    mixture = interleave_datasets([NEW.to_iterable_dataset(), old], seed=0, **MIXTURE)
    for epoch in range(10):
        mixture.set_epoch(epoch)
        yield mixture


stream = OLD.to_iterable_dataset()
seen = {
    "ten seeds": replayed(interleave_datasets([NEW, OLD], seed=seed, **MIXTURE) for seed in range(10)),
    "ten epochs of a stream": replayed(epochs(stream)),
    "ten epochs, shuffled within 100 rows": replayed(epochs(stream.shuffle(seed=0, buffer_size=100))),
    "ten epochs, shuffled whole": replayed(epochs(stream.shuffle(seed=0, buffer_size=1000))),
}
print(f"datasets {metadata.version('datasets')}; {len(NEW)} new rows, and of {len(OLD)} old ones a tenth")
for name, (count, different, last) in seen.items():
    print(f"{name}: {count} old rows, {different} different ones, none beyond row {last}")
if not (seen["ten seeds"][1] < 150 and seen["ten epochs of a stream"][1] < 150):
    sys.exit("Changed.")
if not (seen["ten epochs, shuffled within 100 rows"][1] < 250 and seen["ten epochs, shuffled whole"][1] > 550):
    sys.exit("Changed.")
PYTHON
