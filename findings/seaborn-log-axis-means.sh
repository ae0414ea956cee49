#!/usr/bin/env bash
# On an axis that is logarithmic before seaborn draws, its means are geometric ones: of three runs with perplexities of
# 10, 10 and 1,000 barplot, pointplot and lineplot show 46 instead of 340, and the method beside it, 60 in every run, is
# the worse one instead of the better. log_scale=True does the same. If the axis is set to logarithmic after the drawing
# it is 340, with the same labels and the same axis. The documentation of log_scale says that it sets "axis scale(s) to
# log", that of estimator and errorbar does not mention scales, and no warning is given.
# Exits with 0 while that is so. Takes about 300 MB and the package index; Holdfast has no part in it.
set -euo pipefail
SEABORN=0.13.2 MATPLOTLIB=3.11.2 PANDAS=3.1.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "seaborn==$SEABORN" "matplotlib==$MATPLOTLIB" "pandas==$PANDAS"

cd "$folder" # nothing of a checkout is imported
MPLBACKEND=agg MPLCONFIGDIR="$folder" "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

RUNS = {"SFT": [10, 10, 1000], "GRPO": [60, 60, 60]}
TABLE = pd.DataFrame(
    [(step, method, value) for step, (method, values) in enumerate(RUNS.items()) for value in values],
    columns=["step", "method", "perplexity"],
)
WAYS = "linear", "logarithmic before", "log_scale=True", "logarithmic after"


def heights(draw, x, way):
    """What stands in the figure for SFT and GRPO, whole numbers of perplexity."""
    _, axes = plt.subplots()
    if way == "logarithmic before":
        axes.set_yscale("log")
    given = {"log_scale": True} if way == "log_scale=True" else {}
    draw(TABLE, x=x, y="perplexity", ax=axes, **given)
    if way == "logarithmic after":
        axes.set_yscale("log")
    if axes.patches:
        shown = [bar.get_y() + bar.get_height() for bar in axes.patches]
    else:
        shown = axes.lines[0].get_ydata()
    return [round(float(height)) for height in shown]


means = [round(float(mean)) for mean in TABLE.groupby("step")["perplexity"].mean()]
print(f"seaborn {metadata.version('seaborn')}, perplexities {RUNS}; means {means}")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for draw, x in ((sns.barplot, "method"), (sns.pointplot, "method"), (sns.lineplot, "step")):
        ways = [way for way in WAYS if not (draw is sns.lineplot and way == "log_scale=True")]  # it has no such setting
        seen[draw.__name__] = {way: heights(draw, x, way) for way in ways}
        print(f"{draw.__name__}: {seen[draw.__name__]}")
print(f"warnings: {len(caught)}")
expected = {way: [46, 60] if way in WAYS[1:3] else means for way in WAYS}
held = all(shown == expected[way] for ways in seen.values() for way, shown in ways.items())
if not (held and means == [340, 60] and not caught and "geometric" not in sns.barplot.__doc__):
    print("Changed.")
    sys.exit(1)
PYTHON
