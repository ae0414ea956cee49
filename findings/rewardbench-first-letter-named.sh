#!/usr/bin/env bash
# A judge of RewardBench may think before its verdict, and is told to write [[A]] or [[B]]. What it says is A wherever
# [[A]] stands anywhere in the text, whatever the verdict at its end: "It is not [[A]]. [[B]]" is A, and so is every
# text that repeats what it was told ("I am to write [[A]] or [[B]]"), as those of reasoning models do, whose thoughts
# are not cut off. Such a judge that is always right has half of the pairs right, and of RewardBench 2, which asks for
# one of four, a quarter. Nothing is said of it.
# Exits with 0 while that is so. Takes about 50 MB and the package index; Holdfast has no part in it.
set -euo pipefail
REWARDBENCH=0.1.4

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "rewardbench==$REWARDBENCH"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import random
import runpy
import sys
from unittest.mock import MagicMock

# The clients of judges on the network are imported, and not used here.
for name in "anthropic", "fastchat", "fastchat.conversation", "google.generativeai", "google.generativeai.types":
    sys.modules[name] = MagicMock()
for name in "google", "openai", "together":
    sys.modules[name] = MagicMock()

package = metadata.distribution("rewardbench")
PAIRS, FOURS = (
    runpy.run_path(str(package.locate_file(f"rewardbench/{file}.py")))["process_judgement"]
    for file in ("generative", "generative_v2")
)
TEXTS = {  # a judge's text, and its verdict
    "Assistant B counts all three cars. [[B]]": "B",
    "Assistant A misses a car, so it is not [[A]]. [[B]]": "B",
    "<think>I am to end with [[A]] or [[B]]. B counts all three cars.</think>\n[[B]]": "B",
    "At first sight [[A]], but it misses a car. My final verdict: [[B]]": "B",
}


def accuracy(read, letters, form):
    """Of a judge that is always right, the better answer being at a place by chance."""
    draw = random.Random(0)
    better = [draw.choice(letters) for _ in range(1000)]
    return sum(read(form.format(letter), None) == letter for letter in better) / len(better)


print(f"rewardbench {package.version}")
read = {text: PAIRS(text, None) for text in TEXTS}
for text, letter in read.items():
    print(f"{text!r}: {letter}")
PLAIN, THOUGHT = "[[{}]]", "<think>I am to end with {all}.</think>\n[[{{}}]]"
seen = {}
for name, reader, letters in (("pairs", PAIRS, "AB"), ("fours", FOURS, "ABCD")):
    thought = THOUGHT.format(all=" or ".join(f"[[{letter}]]" for letter in letters))
    seen[name] = accuracy(reader, letters, PLAIN), accuracy(reader, letters, thought)
    plain, repeated = seen[name]
    print(f"{name}, a judge that is always right: {plain:.1%}; if it repeats what it may say {repeated:.1%}")
known = list(read.values()) == ["B", "A", "A", "A"] and [pair[0] for pair in seen.values()] == [1, 1]
if not (known and abs(seen["pairs"][1] - 1 / 2) < 0.05 and abs(seen["fours"][1] - 1 / 4) < 0.05):
    print("Changed.")
    sys.exit(1)
PYTHON
