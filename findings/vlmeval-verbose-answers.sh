#!/usr/bin/env bash
# VLMEvalKit matches replies to options without a judge first, and asks an environment variable for how much to log,
# VERBOSE, whether an A may be an article: with any value set, 0 too, "The answer is A." is no answer, while B, C and D
# in the same words are read. Of a model that is always right and says so in a sentence all questions with the answer A
# become wrong, or go to the judge. Without VERBOSE every short reply that begins with an article is option A:
# "A bus." is the cat if that is option A. And next to the options 1, 2, 5, 10 a 10 is no answer and 20 is the 2.
# Exits with 0 while that is so. Takes about 30 MB and the package index; Holdfast has no part in it.
set -euo pipefail
VLMEVAL=0.0.20

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "ms-vlmeval==$VLMEVAL" # what the index has of it

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import logging
import os
import runpy
import sys
import types

# of the whole package the rule needs a logger alone: that one is Python's
for name in ("vlmeval", "vlmeval.smp", "vlmeval.smp.log"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["vlmeval.smp.log"].get_logger = logging.getLogger
file = metadata.distribution("ms-vlmeval").locate_file("vlmeval/utils/matching_util.py")
match = runpy.run_path(str(file))["can_infer"]

THINGS = {"A": "cat", "B": "bus", "C": "dog", "D": "tree"}
NUMBERS = {"A": "1", "B": "2", "C": "5", "D": "10"}


def read(reply, options, verbose=None):
    os.environ.pop("VERBOSE", None)
    if verbose is not None:
        os.environ["VERBOSE"] = verbose
    return match(reply, dict(options)) or "none"


print(f"ms-vlmeval {metadata.version('ms-vlmeval')}")
seen = {}
for verbose in (None, "0", "1"):
    for sentence in ("{}", "The answer is {}.", "The correct option is {}"):
        found = [read(sentence.format(letter), THINGS, verbose) for letter in "ABCD"]
        seen[verbose, sentence] = "".join(letter[0] for letter in found)
        name = "no VERBOSE" if verbose is None else f"VERBOSE={verbose}"
        print(f"{name}: {sentence!r} with A, B, C and D is {', '.join(found)}")
bus = [read(reply, THINGS) for reply in ("A bus.", "A red bus", "It is a bus.")]
print(f"options {THINGS}: 'A bus.', 'A red bus', 'It is a bus.' are {', '.join(bus)}")
numbers = [read(reply, NUMBERS) for reply in ("10", "There are 10.", "20")]
print(f"options {NUMBERS}: '10', 'There are 10.', '20' are {', '.join(numbers)}")
expected = {
    (verbose, sentence): "nBCD" if verbose and sentence != "{}" else "ABCD" for verbose, sentence in seen
}  # n: none
if seen != expected or bus != ["A", "A", "B"] or numbers != ["none", "none", "B"]:
    print("Changed.")
    sys.exit(1)
PYTHON
