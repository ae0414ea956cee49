#!/usr/bin/env bash
# For math-verify letters side by side are a product, and a product has no order: for the reference BCA, the order in
# which three things are to be put, ABC is right, as all six orders are; so are HHTT for TTHH, "on" for "no", DNA for
# AND and LRRL for RLLR, and a for A. That holds in $...$ and in \boxed{...}, which is what models write. With commas,
# as B, C, A, the letters are a set, and every order is right again; in brackets they are compared in their order. Its
# documentation says of sets and tuples that it reads them, and nothing of letters.
# Exits with 0 while that is so. Takes about 120 MB and the package index; Holdfast has no part in it.
set -euo pipefail
MATH_VERIFY=0.9.0 LATEX2SYMPY2=1.11.0 ANTLR=4.13.2

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "math-verify==$MATH_VERIFY" \
    "latex2sympy2-extended==$LATEX2SYMPY2" "antlr4-python3-runtime==$ANTLR"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import itertools
import sys

from math_verify import parse, verify

WORDS = [("BCA", "ABC"), ("TTHH", "HHTT"), ("no", "on"), ("AND", "DNA"), ("RLLR", "LRRL"), ("A", "a")]
PAIRS = [*WORDS, ("B, C, A", "A, B, C")]
ORDERED = [("(B, C, A)", "(A, B, C)"), ("12", "21"), (r"\text{BCA}", r"\text{ABC}")]


def right(reference, answer):
    """In dollars, and in a box as a model writes it."""
    return [
        verify(parse(f"${reference}$"), parse(f"${answer}$")),
        verify(parse(rf"\boxed{{{reference}}}"), parse(rf"So the answer is \boxed{{{answer}}}.")),
    ]


print(f"math-verify {metadata.version('math-verify')}")
seen = {}
for reference, answer in PAIRS + ORDERED:
    seen[reference] = right(reference, answer)
    print(f"reference {reference}, answer {answer}: {seen[reference]}")
orders = ["".join(order) for order in itertools.permutations("ABCD")]
found = sum(right("BDAC", order) == [True, True] for order in orders)
print(f"of {len(orders)} orders of four letters {found} are right for BDAC")
wrong = all(seen[reference] == [True, True] for reference, _ in PAIRS)
if not (wrong and found == len(orders) and all(seen[reference] == [False, False] for reference, _ in ORDERED)):
    print("Changed.")
    sys.exit(1)
PYTHON
