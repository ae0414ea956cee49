#!/usr/bin/env bash
# BleuScore of ragas looks at the first sentence of a response alone, and takes each sentence of the reference as
# another reference for it: a response of one right sentence and two invented ones has 1.0, and so has the second of
# three sentences without the others. A right answer that begins with "Yes. " has 0. What is handed to sacrebleu, a
# list for each sentence of the reference, is there a list for each of several references. Nothing is said of it.
# Exits with 0 while that is so. Takes about 600 MB and the package index; Holdfast has no part in it.
set -euo pipefail
RAGAS=0.4.3 SACREBLEU=2.6.0 LANGCHAIN_COMMUNITY=0.3.31 # newer ones do not load with it

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "ragas==$RAGAS" "sacrebleu==$SACREBLEU" "langchain-community==$LANGCHAIN_COMMUNITY"

cd "$folder" # nothing of a checkout is imported
RAGAS_DO_NOT_TRACK=true "$python" -W ignore - <<'PYTHON'
import asyncio
import importlib.metadata as metadata
import sys

from ragas.metrics.collections import BleuScore

FIRST = "The red car stands at the corner of the street"
SECOND = "Two children play with a small dog"
THIRD = "It has been raining for most of the day"
REFERENCE = f"{FIRST}. {SECOND}. {THIRD}."
CASES = (  # what the response is, the response, its BLEU
    ("the reference", REFERENCE, 1.0),
    ("a right sentence and two invented ones", f"{SECOND}. A horse sleeps on the roof. Nobody has seen the moon.", 1.0),
    ("the second sentence without the others", SECOND, 1.0),
    ('"Yes. " and the reference', f"Yes. {REFERENCE}", 0.0),
)
print(f"ragas {metadata.version('ragas')}, sacrebleu {metadata.version('sacrebleu')}")
changed = False
for name, response, known in CASES:
    score = asyncio.run(BleuScore().ascore(reference=REFERENCE, response=response)).value
    print(f"{name}: {score:.3f}")
    changed |= abs(score - known) > 0.01
if changed:
    print("Changed.")
    sys.exit(1)
PYTHON
