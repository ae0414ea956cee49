#!/usr/bin/env bash
# sympy's parse_latex reads as far as it understands and gives what it has, without a word. A full stop at the end is
# begun as a decimal point and takes the last digits along: "18." is 1, "19." is 1, and "3.14." is 3.1. The comma of
# LaTeX's thousands ends the number: 1{,}000 and 1{,}500 are both 1; of "3, 4" the 3 is left. A grader that compares
# two readings finds the answer "19." right for "18." and "18." wrong for "18".
# With strict=True, not the default, all of these are errors (the default "tries to recover from common mistakes").
# Exits with 0 while that is so. Takes about 100 MB and the package index; Holdfast has no part in it.
set -euo pipefail
SYMPY=1.14.0 ANTLR=4.11.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "sympy==$SYMPY" "antlr4-python3-runtime==$ANTLR"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

from sympy import simplify
from sympy.parsing.latex import LaTeXParsingError, parse_latex


def read(text, **options):
    try:
        return str(parse_latex(text, **options))
    except LaTeXParsingError:
        return "an error"


def equal(answer, reference):
    """What a grader asks."""
    return simplify(parse_latex(answer) - parse_latex(reference)) == 0


expected = {
    "18": ("18", "18"),
    "1,000": ("1000", "1000"),
    "18.": ("1", "an error"),
    "19.": ("1", "an error"),
    "x = 18.": ("Eq(x, 1)", "an error"),
    "3.14.": ("3.10000000000000", "an error"),
    r"1{,}000": ("1", "an error"),
    r"1{,}500": ("1", "an error"),
    "3, 4": ("3", "an error"),
}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen = {text: (read(text), read(text, strict=True)) for text in expected}
    graded = {pair: equal(*pair) for pair in (("19.", "18."), ("18.", "18"), (r"1{,}500", r"1{,}000"))}
print(f"sympy {metadata.version('sympy')}; warnings: {len(caught)}")
for text, (loose, strict) in seen.items():
    print(f"{text}: {loose}; with strict=True {strict}")
for (answer, reference), same in graded.items():
    print(f"the answer {answer} for {reference}: {'right' if same else 'wrong'}")
if seen != expected or list(graded.values()) != [True, False, True] or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
