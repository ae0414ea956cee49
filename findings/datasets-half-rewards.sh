#!/usr/bin/env bash
# Rewards of 0, 0.5 and 1 that Dataset.from_list or from_dict lays into the features of an earlier set, whose rewards
# were all 0 or 1, are 0, 0 and 1 with datasets 5.2.0: half a point is no point, and nothing is said. So an answer that
# is half right teaches what a wrong one does. map with those features, a cast of the column, and add_item all refuse
# the same 0.5 ("Float value 0.500000 was truncated converting to int64").
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

from datasets import Dataset, Value, disable_progress_bars

disable_progress_bars()
ANSWERS = ["2 cats", "a cat and a dog", "2 dogs"]
REWARDS = {"2 cats": 0, "a cat and a dog": 0.5, "2 dogs": 1}
first = Dataset.from_dict({"answer": ANSWERS, "reward": [0, 0, 1]})
rows = [{"answer": answer, "reward": REWARDS[answer]} for answer in ANSWERS]
columns = {"answer": ANSWERS, "reward": list(REWARDS.values())}


def again(row):
    return {"reward": REWARDS[row["answer"]]}


WAYS = {
    "from_list with the features": lambda: Dataset.from_list(rows, features=first.features),
    "from_dict with the features": lambda: Dataset.from_dict(columns, features=first.features),
    "map with the features": lambda: first.map(again, features=first.features),
    "from_list, then a cast": lambda: Dataset.from_list(rows).cast_column("reward", Value("int64")),
    "add_item": lambda: first.add_item(rows[1]),
}
print(f"datasets {metadata.version('datasets')}; rewards {list(REWARDS.values())}, features {first.features}")
seen = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for way, made in WAYS.items():
        try:
            seen.append(made()["reward"][:])
        except ValueError as error:  # pyarrow's ArrowInvalid is one
            seen.append(str(error))
        print(f"{way}: {seen[-1]}")
print(f"Warnings: {len(caught)}")
refused = "Float value 0.500000 was truncated converting to int64"
if not (seen == [[0, 0, 1]] * 2 + [refused] * 3 and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
