#!/usr/bin/env bash
# Options shuffled by polars 2.1.0 within each question, with a seed, have one order in all of them: each group is
# shuffled anew with that seed. So the right option of 200 questions has the same letter throughout, and a model that
# always says this letter is always right. Without a seed the letters are about even; after pl.set_random_seed agg with
# maintain_order draws them again alike, and over does not. sample takes the same places of all groups, too: a bootstrap
# within clusters by it draws one set of indices for all.
# Exits with 0 while that is so. Takes about 200 MB and the package index; Holdfast has no part in it.
set -euo pipefail
POLARS=2.1.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "polars==$POLARS"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
from collections import Counter

import polars as pl

OPTIONS = ("right", "wrong 1", "wrong 2", "wrong 3")
rows = pl.DataFrame([{"question": number, "option": option} for number in range(200) for option in OPTIONS])
in_groups = rows.group_by("question", maintain_order=True)
WAYS = {
    "over": lambda seed: rows.with_columns(pl.col("option").shuffle(seed=seed).over("question")),
    "agg": lambda seed: in_groups.agg(pl.col("option").shuffle(seed=seed)).explode("option"),
}


def letters(shuffled):
    """How often the right option has each letter."""
    orders = shuffled.sort("question", maintain_order=True).group_by("question", maintain_order=True).agg("option")
    return dict(sorted(Counter("ABCD"[order.index("right")] for order in orders["option"].to_list()).items()))


print(f"polars {metadata.version('polars')}: the letters of the right option of 200 questions")
seen = []
for name, way in WAYS.items():
    for seed in (0, 1, 2, None):
        seen.append((seed, letters(way(seed))))
        print(f"{name}, seed {seed}: {seen[-1][1]}")
drawn = in_groups.agg(pl.col("option").sample(4, with_replacement=True, seed=0))["option"].to_list()
draws = len({tuple(options) for options in drawn})
print(f"sample with replacement, seed 0: {draws} draw(s) for 200 questions: {drawn[0]}")
again = {name: set() for name in WAYS}
for name, way in WAYS.items():
    for _ in range(6):
        pl.set_random_seed(0)
        again[name].add(tuple(way(None).sort("question", maintain_order=True)["option"].to_list()))
    print(f"{name}, no seed, pl.set_random_seed(0) before each of 6 draws: {len(again[name])} different one(s)")
one_letter = all(len(count) == (4 if seed is None else 1) for seed, count in seen)
if not (one_letter and draws == 1 and len(again["agg"]) == 1 and len(again["over"]) > 1):
    print("Changed.")
    sys.exit(1)
PYTHON
