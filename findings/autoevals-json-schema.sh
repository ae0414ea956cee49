#!/usr/bin/env bash
# autoevals' ValidJSON(schema=...), which its documentation shows, never looks at its schema: every object and list
# is valid, whatever it lacks. Five answers of which one has the number that is asked for all have a score of 1, by eval
# and by eval_async, as without a schema. The same schema given with each answer as the expected value, or by
# ValidJSON.partial, leaves the one. A plain number has a score of 0 under ValidJSON(schema={"type": "number"}).
# Exits with 0 while that is so. Takes about 100 MB and the package index; Holdfast has no part in it.
set -euo pipefail
AUTOEVALS=0.4.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "autoevals==$AUTOEVALS"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import asyncio
import importlib.metadata as metadata
import sys

from autoevals import ValidJSON

SCHEMA = {"type": "object", "properties": {"answer": {"type": "number"}}, "required": ["answer"]}
ANSWERS = ('{"answer": 3}', '{"answer": "three"}', '{"reason": "I see three."}', "{}", "[]")
given = ValidJSON(schema=SCHEMA)
scores = {
    "ValidJSON(schema=...).eval(answer)": [given.eval(answer).score for answer in ANSWERS],
    "the same, eval_async": [asyncio.run(given.eval_async(answer)).score for answer in ANSWERS],
    "without a schema": [ValidJSON().eval(answer).score for answer in ANSWERS],
    "ValidJSON.partial(schema=...)": [ValidJSON.partial(schema=SCHEMA)().eval(answer).score for answer in ANSWERS],
    "eval(answer, schema)": [ValidJSON().eval(answer, SCHEMA).score for answer in ANSWERS],
}
NUMBER = {"type": "number"}
number = [ValidJSON(schema=NUMBER).eval("3").score, ValidJSON().eval("3", NUMBER).score]
print(f"autoevals {metadata.version('autoevals')}; {', '.join(ANSWERS)}")
for name, row in scores.items():
    print(f"{name}: {row}")
print(f"a plain 3, where a number is asked for: {number[0]}, given with the answer {number[1]}")
told = "ValidJSON(schema=schema)" in ValidJSON.__doc__
deaf, deaf_too, none, *heard = scores.values()
heard = number == [0, 1] and all(row == [1, 0, 0, 0, 0] for row in heard)
if not (told and deaf == deaf_too == none == [1] * 5 and heard):
    print("Changed.")
    sys.exit(1)
PYTHON
