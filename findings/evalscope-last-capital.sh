#!/usr/bin/env bash
# evalscope reads the option that an answer chooses behind "ANSWER:", which its prompts ask for. Where that is missing
# it takes the last capital letter of all that was said, if there is an option of that name: "A. Cat" is C, "(B) Dog" is
# D, "C. A bird" is A and "B, because Cats do not bark" is C. Models that were trained with other prompts answer so. The
# function's docstring says that an answer in another form counts as wrong; here it counts as another option, right or
# wrong by the first letter of a word. It is the rule of MMLU, MMBench, MMStar and evalscope's other benchmarks with one
# right option.
# Exits with 0 while that is so. Takes about 1.3 GB and the package index; Holdfast has no part in it.
set -euo pipefail
EVALSCOPE=1.14.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "evalscope==$EVALSCOPE"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys

from evalscope.api.dataset import Sample
from evalscope.api.evaluator import TaskState
from evalscope.utils.multi_choices import parse_answers

OPTIONS = ["Cat", "Dog", "A bird", "Elephant"]
ANSWERS = {  # what is said: the option that it chooses, the option that is read
    "ANSWER: B. Dog": ("B", "B"),
    "B": ("B", "B"),
    "The answer is B.": ("B", "B"),
    "A. Cat": ("A", "C"),
    "B. Dog": ("B", "D"),
    "(B) Dog": ("B", "D"),
    "C. A bird": ("C", "A"),
    "The answer is B, because Cats do not bark.": ("B", "C"),
    "The correct answer is **B**. Dogs bark.": ("B", "D"),
    "B. Dog. Its tail can be seen.": ("B", ""),
}

print(f"evalscope {metadata.version('evalscope')}, the options {', '.join(OPTIONS)}")
seen = {}
for answer, (chosen, _) in ANSWERS.items():
    state = TaskState(model="model", sample=Sample(input="What barks?", choices=OPTIONS, target=chosen))
    seen[answer] = "".join(sorted(parse_answers(state, completion=answer)))
    print(f"{answer!r} chooses {chosen}, read as {seen[answer] or 'no answer'}")
if any(seen[answer] != read for answer, (_, read) in ANSWERS.items()):
    print("Changed.")
    sys.exit(1)
PYTHON
