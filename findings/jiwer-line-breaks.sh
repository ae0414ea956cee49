#!/usr/bin/env bash
# In jiwer 4.0.0 a line break or a tab is a letter of a word: of text that a model has read off a receipt without a
# fault, one word a line, every word is wrong, a word error rate of 1, where the reference has spaces. Two line breaks
# one after another are a space, and the rate is 0. Where both texts have the same line breaks, words of two lines are
# one: a wrong word is one of four and not of six. Nothing is said.
# Exits with 0 while that is so. Takes about 50 MB and the package index; Holdfast has no part in it.
set -euo pipefail
JIWER=4.0.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "jiwer==$JIWER"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import jiwer

REFERENCE = "the invoice total is 12 dollars"
BREAKS = {"spaces": " ", "line breaks": "\n", "empty lines": "\n\n", "tabs": "\t", "spaces before line breaks": " \n"}
seen = {}
print(f"jiwer {metadata.version('jiwer')}; reference {REFERENCE!r}")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, between in BREAKS.items():
        read = REFERENCE.replace(" ", between)
        seen[name] = jiwer.wer(REFERENCE, read), jiwer.wer(REFERENCE, " ".join(read.split()))
        print(f"{name}: word error rate {seen[name][0]:.2f}; of the words that split() finds {seen[name][1]:.2f}")
    lines = "the invoice\ntotal is\n12 dollars"
    one_letter = jiwer.wer(lines, lines[:-1]), jiwer.wer(" ".join(lines.split()), " ".join(lines[:-1].split()))
print(f"{lines!r} in both, one letter short: {one_letter[0]:.2f}; of the words {one_letter[1]:.2f}")
rates = [rate for rate, _ in seen.values()]
if not (
    rates == [0, 1, 0, 1, 0]
    and not any(rate for _, rate in seen.values())
    and [round(rate, 2) for rate in one_letter] == [0.25, 0.17]
    and not caught
):
    print("Changed.")
    sys.exit(1)
PYTHON
