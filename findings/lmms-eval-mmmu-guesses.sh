#!/usr/bin/env bash
# Where MMMU's rules find no option in a reply, lmms-eval draws one by chance. \boxed{B}, **B** and "Option B, a
# meiosis" are such replies, as is an empty one: a model that is always right in a box and one that no longer answers
# at all both score a quarter, and how much hangs on the seed. A word that ends in a capital letter is an option.
# Exits with 0 while that is so. Takes about 100 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LMMS_EVAL=0.7.3 NUMPY=2.4.6

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "numpy==$NUMPY" # for the import of the rules alone
pip install --no-deps "lmms-eval==$LMMS_EVAL"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import random
import runpy
import sys

file = metadata.distribution("lmms-eval").locate_file("lmms_eval/tasks/_task_utils/mmmu_mcq_utils.py")
read = runpy.run_path(str(file))["parse_mmmu_multi_choice_response"]
QUESTIONS = 1000
OPTIONS = dict(zip("ABCD", ("a mitosis", "a meiosis", "a fission", "a fusion"), strict=True))
PLAIN = "B", "(B)", "The answer is B."
UNREAD = r"\boxed{B}", r"The answer is $\boxed{B}$.", "**B**", "Option B, a meiosis", ""


def accuracy(reply, seed=0):
    """The share of questions, all with the right option B, on which the reply counts as right."""
    random.seed(seed)
    return sum(read(reply, list(OPTIONS), OPTIONS) == "B" for _ in range(QUESTIONS)) / QUESTIONS


print(f"lmms-eval {metadata.version('lmms-eval')}, MMMU, options {', '.join(OPTIONS)}; B is right")
seen = {reply: (accuracy(reply), accuracy(reply, 1)) for reply in PLAIN + UNREAD}
for reply, shares in seen.items():
    print(f"{reply!r}: right in {shares[0]:.1%}, with another seed {shares[1]:.1%}")
strand = read("B: DNA strands", list(OPTIONS), OPTIONS)
print(f"'B: DNA strands': option {strand}")
chance = tuple(reply for reply, (one, other) in seen.items() if 0.2 < one < 0.3 and one != other)
if not (chance == UNREAD and all(seen[reply] == (1, 1) for reply in PLAIN) and strand == "A"):
    print("Changed.")
    sys.exit(1)
PYTHON
