#!/usr/bin/env bash
# A binomial model of statsmodels (GLM or GEE, by a formula) of verdicts that are True and False is one of how often an
# answer is wrong: a stage after which 50 % are right instead of 80 % has a coefficient of +1.39, and for what was there
# before it 20 % are predicted. The column of truth values becomes two, False first, and the first one is what counts as a success; of
# "right" and "wrong" it is "right", by the alphabet, of "correct" and "incorrect" "correct", of "no" and "yes" "no".
# As 0 and 1 the same verdicts have -1.39. logit refuses them, with a message; here nothing is said.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
STATSMODELS=0.15.0 PANDAS=3.1.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "statsmodels==$STATSMODELS" "pandas==$PANDAS"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import numpy as np
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf

ITEMS = 200
stage = np.repeat([0, 1], ITEMS)
right = np.tile(np.arange(ITEMS) % 10, 2) < np.where(stage == 0, 8, 5)
rows = pd.DataFrame({"stage": stage, "item": np.tile(np.arange(ITEMS), 2), "verdict": right})
STAGES = pd.DataFrame({"stage": [0, 1]})
FORMS = {
    "0 and 1": right.astype(int),
    "False and True": right,
    "right and wrong": np.where(right, "right", "wrong"),
    "yes and no": np.where(right, "yes", "no"),
}
MODELS = {
    "glm": lambda data: smf.glm("verdict ~ stage", data, family=sm.families.Binomial()),
    "gee": lambda data: smf.gee("verdict ~ stage", "item", data, family=sm.families.Binomial()),
}
observed = rows.groupby("stage")["verdict"].mean().round(2).tolist()
print(f"statsmodels {metadata.version('statsmodels')}; right before and after a stage: {observed}")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, make in MODELS.items():
        for form, verdicts in FORMS.items():
            fitted = make(rows.assign(verdict=verdicts)).fit()
            predicted = [round(float(share), 2) for share in fitted.predict(STAGES)]
            seen[name, form] = round(float(fitted.params["stage"]), 2), predicted
            print(f"{name}, verdicts as {form}: coefficient {seen[name, form][0]:+}, predicted {predicted}")
print(f"warnings: {len(caught)}")
try:
    smf.logit("verdict ~ stage", rows).fit(disp=0)
    refused = False
except ValueError as error:
    refused = "non-numeric" in str(error)
print(f"logit refuses False and True: {refused}")
well, turned = (-1.39, [0.8, 0.5]), (1.39, [0.2, 0.5])
expected = dict(zip(FORMS, (well, turned, well, turned), strict=True))
if not (all(found == expected[form] for (_, form), found in seen.items()) and refused and not caught):
    print("Changed.")
    sys.exit(1)
PYTHON
