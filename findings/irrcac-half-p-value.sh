#!/usr/bin/env bash
# irrCAC tests five coefficients of agreement, each against no agreement beyond chance, by the same t statistic. Four of
# them have the two-sided p-value; that of Brennan and Prediger, in the same table and under the same name, is half of
# it: where all five have a z of 1.8 it is 0.04 for 0.08. It is no one-sided test either: judges who agree less than by
# chance are as significant as those who agree more. Judges who toss coins agree, at a level of 5 %, in 11 % of
# the cases, and in 7 % by Fleiss. From a table of counts, in the same package, the p-value of the same answers is
# whole. Nothing is said of it.
# Exits with 0 while that is so. Takes about 250 MB and the package index; Holdfast has no part in it.
set -euo pipefail
IRRCAC=0.4.4

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "irrCAC==$IRRCAC"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import numpy as np
import pandas as pd
from irrCAC.raw import CAC as Raw
from irrCAC.table import CAC as Table
from scipy import stats

ANSWERS, TABLES = 60, 500
METHODS = "bp", "fleiss", "gwet", "conger", "krippendorff"
NAMES = dict(zip(METHODS, ("Brennan-Prediger", "Fleiss", "Gwet's AC1", "Conger", "Krippendorff"), strict=True))
rng = np.random.default_rng(0)


def measured(method, given):
    return getattr(Raw(given, categories=[0, 1, 2]), method)()["est"]


def judges(agree):
    """Two judges' marks of the same answers: the second repeats the first with the given probability."""
    first, second = rng.integers(0, 3, (2, ANSWERS))
    return pd.DataFrame({"first": first, "second": np.where(rng.random(ANSWERS) < agree, first, second)})


print(f"irrCAC {metadata.version('irrCAC')}, two judges, three marks, {ANSWERS} answers")
marks = [(mark, mark) for mark in range(3)] * 9 + [(mark, (mark + 1) % 3) for mark in range(3)] * 11
given = pd.DataFrame(marks, columns=["first", "second"])
shares = {}
for method in METHODS:
    found = measured(method, given)
    two_sided = 2 * stats.t.sf(abs(found["z"]), ANSWERS - 1)
    shares[method] = round(found["p_value"] / two_sided, 2)
    print(f"{NAMES[method]}: {found['coefficient_value']:.3f}, z = {found['z']:.2f}, ", end="")
    print(f"p = {found['p_value']:.3f}; of the two-sided p-value {shares[method]:.2f}")

opposed = pd.DataFrame({"first": [0, 1, 2] * 20, "second": [1, 2, 0] * 18 + [0, 1, 2] * 2})
below = measured("bp", opposed)
print(f"judges who agree on {6 / ANSWERS:.0%}: {below['coefficient_value']:.2f}, p = {below['p_value']:.4f}")
counts = pd.crosstab(given["first"], given["second"])
table = Table(counts).bp()["est"]
raw = measured("bp", given)
print(f"from counts: {table['coefficient_value']:.3f}, p = {table['p_value']:.3f}")

tossed = [judges(agree=0) for _ in range(TABLES)]
found = {method: np.mean([measured(method, each)["p_value"] < 0.05 for each in tossed]) for method in METHODS[:3]}
told = ", ".join(f"{NAMES[each]} {share:.1%}" for each, share in found.items())
print(f"judges who toss coins and agree, p < 0.05: {told}")
if not (
    shares == dict.fromkeys(METHODS, 1.0) | {"bp": 0.5}
    and below["coefficient_value"] < -0.3
    and below["p_value"] < 0.001
    and abs(table["coefficient_value"] - raw["coefficient_value"]) < 1e-4
    and abs(table["p_value"] / raw["p_value"] - 2) < 0.1
    and found["bp"] > 1.4 * max(found["fleiss"], found["gwet"])
):
    print("Changed.")
    sys.exit(1)
PYTHON
