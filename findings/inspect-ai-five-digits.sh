#!/usr/bin/env bash
# The scorer match(numeric=True) of inspect-ai, which its tutorial takes for GSM8K, compares five significant digits:
# both numbers are written with the format .5g first. So 123457 is right for 123456, $1,048,600 for 1048576, and the date
# 20240112 for 20240131; of products of two three-digit numbers that are all one too high most are right. Nothing is
# said of it, neither where the arguments are described nor in the results. Below 100,000 whole numbers are compared
# exactly, and without numeric=True texts are.
# Exits with 0 while that is so. Takes about 400 MB and the package index; Holdfast has no part in it.
set -euo pipefail
INSPECT_AI=0.3.285

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "inspect-ai==$INSPECT_AI"

cd "$folder" # nothing of a checkout is imported
HOME="$folder" "$python" -W ignore - <<'PYTHON'
import asyncio
import importlib.metadata as metadata
import random
import sys

from inspect_ai.model import ModelName, ModelOutput
from inspect_ai.scorer import Target, match
from inspect_ai.solver import TaskState

CASES = (  # reference, answer, the verdict
    ("123456", "123456", True),
    ("123456", "The answer is 123457", True),
    ("100000", "100001", True),
    ("1048576", "$1,048,600", True),
    ("20240131", "20240112", True),
    ("12345.67", "12345.99", True),
    ("123456", "123467", False),
    ("99999", "99998", False),
)
SCORER = match(numeric=True)


def right(reference, answer, scorer=SCORER):
    state = TaskState(
        model=ModelName("none/none"), sample_id=1, epoch=1, input="", messages=[],
        output=ModelOutput.from_content("none", answer),
    )  # fmt: skip
    return asyncio.run(scorer(state, Target(reference))).value == "C"


print(f"inspect-ai {metadata.version('inspect-ai')}, match(numeric=True)")
changed = False
for reference, answer, known in CASES:
    verdict = right(reference, answer)
    print(f"{answer!r} for {reference}: {'right' if verdict else 'wrong'}")
    changed |= verdict != known
draw = random.Random(0)
products = [draw.randint(100, 999) * draw.randint(100, 999) for _ in range(500)]
numeric = sum(right(str(product), f"It is {product + 1}") for product in products)
words = sum(right(str(product), f"It is {product + 1}", match()) for product in products)
print(f"Of {len(products)} products, all one too high: {numeric} right; without numeric=True {words}.")
if changed or not (numeric > 300 and words == 0):
    print("Changed.")
    sys.exit(1)
PYTHON
