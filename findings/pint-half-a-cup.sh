#!/usr/bin/env bash
# pint reads "3 1/2 cup" as 1.5 cup: what stands side by side it multiplies, numbers, too. So "1 200 m" is 200 m, "5 ft
# 3 in" is 15 ft in, an area, "3 h 20 min" is 60 h min, "3:20" is 60, and "7 am" is 7 attometres. A grader that compares
# quantities finds "3 1/2 cup" right for 1.5 cup and wrong for 3.5. Nothing is said, where "20 degC" or "2 x 3 m" is an
# error. The documentation of Quantity and of parse_expression, which is to "parse a mathematical expression including
# units and return a quantity", does not say what a gap means.
# Exits with 0 while that is so. Takes about 30 MB and the package index; Holdfast has no part in it.
set -euo pipefail
PINT=0.25.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "pint==$PINT"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import pint

WRITTEN = {  # as a person writes it, and as pint reads it
    "3 1/2 cup": "1.5 cup",
    "1 200 m": "200 meter",
    "5 ft 3 in": "15 foot * inch",
    "3 h 20 min": "60 hour * minute",
    "3:20": "60 dimensionless",
    "7 am": "7 attometer",
}

units = pint.UnitRegistry()
print(f"pint {metadata.version('pint')}")
seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for text in WRITTEN:
        seen[text] = str(units.Quantity(text))
        print(f"{text!r} is {seen[text]}")
    answer = units.Quantity("3 1/2 cup")
    right = {reference: bool(answer == units.Quantity(reference)) for reference in ("1.5 cup", "3.5 cup")}
print(f"'3 1/2 cup' is right for {right}; warnings: {len(caught)}")
said = (pint.UnitRegistry.parse_expression.__doc__ or "") + (pint.Quantity.__doc__ or "")
if not (seen == WRITTEN and right == {"1.5 cup": True, "3.5 cup": False} and not caught and "multipl" not in said):
    print("Changed.")
    sys.exit(1)
PYTHON
