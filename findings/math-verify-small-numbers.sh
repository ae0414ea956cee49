#!/usr/bin/env bash
# math-verify compares with a decimal number after both are rounded to six places: for the constant of gravitation,
# 6.67\times10^{-11}, the answer 0.0 is right, as for all references below 0.0000005, and 0.0000003 is right for
# 0.0000002: a policy that is rewarded so learns to say 0.0. Other numbers far below 1e-16 are equal, too, if none is 0:
# an electron's charge is right for its mass, and of either sign. For 50\% both 0.5 and 50 are right.
# Exits with 0 while that is so. Takes about 100 MB and the package index; Holdfast has no part in it.
set -euo pipefail
MATH_VERIFY=0.9.0 LATEX2SYMPY2=1.11.0 SYMPY=1.14.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "math-verify==$MATH_VERIFY" "latex2sympy2-extended==$LATEX2SYMPY2" "sympy==$SYMPY" antlr4-python3-runtime==4.13.2

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

from math_verify import parse, verify

CASES = (  # reference, answer, whether a reader would call it right, the verdict
    (r"6.67\times10^{-11}", r"6.67\times10^{-11}", True, True),
    (r"6.67\times10^{-11}", "0.0", False, True),
    (r"\frac{1}{3000000}", "0.0", False, True),
    ("0.0000002", "0.0000003", False, True),
    (r"5.5\times10^{-7}", r"6.5\times10^{-7}", False, False),
    (r"-1.6\times10^{-19}", r"1.6\times10^{-19}", False, True),
    (r"1.6\times10^{-19}", r"9.1\times10^{-31}", False, True),
    (r"50\%", "0.5", True, True),
    (r"50\%", "50", True, True),
    ("0.5", r"50\%", True, True),
    ("50", "0.5", False, False),
)
print(f"math-verify {metadata.version('math-verify')}, sympy {metadata.version('sympy')}")
changed = False
for reference, answer, expected, known in CASES:
    verdict = verify(parse(f"${reference}$"), parse(rf"\boxed{{{answer}}}"))
    print(f"{answer} for {reference}: {verdict}{'' if verdict == expected else ', and should not be'}")
    changed |= verdict != known
if changed:
    print("Changed.")
    sys.exit(1)
PYTHON
