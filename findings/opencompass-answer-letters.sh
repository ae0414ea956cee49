#!/usr/bin/env bash
# OpenCompass reads an option letter by some fifty patterns, and where none fits, as the last resort, takes the first
# capital among A to D, in whatever word it stands. That is the rule for much that models write: "Answer: (C)" and
# "Answer: **C**" are A by the A of Answer, "Choice (B)" is C, and of replies that begin with According, Because,
# Clearly or Despite and end in a letter in brackets each is the letter of its first word, whatever they answer.
# Nothing is said, and first_option_postprocess does so by default, in the settings of ARC and many others.
# Exits with 0 while that is so. Takes about 200 MB and the package index; Holdfast has no part in it.
set -euo pipefail
OPENCOMPASS=0.5.4 MMENGINE=0.11.0rc3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "mmengine-lite==$MMENGINE" packaging
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "opencompass==$OPENCOMPASS" # needs no more here

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys

file = metadata.distribution("opencompass").locate_file("opencompass/utils/text_postprocessors.py")
read = runpy.run_path(str(file))["first_option_postprocess"]
PLAIN = [("Answer: C", "C"), ("The answer is C.", "C"), ("(C) Denmark", "C"), ("The answer is **C**.", "C")]
ENDS = [  # a reply, what it answers, what its first capital is
    ("Answer: (C)", "C", "A"),
    ("Answer: **C**", "C", "A"),
    ("Answer: $C$", "C", "A"),
    ("Answer: \\boxed{C}", "C", "A"),
    ("Correct answer: **B**", "B", "C"),
    ("Choice (B)", "B", "C"),
    ("Both are red, so it must be **D**.", "D", "B"),
]
STARTS = {
    "A": "According to the chart it is ({}).",
    "B": "Because of the sign it is ({}).",
    "C": "Clearly it is ({}).",
    "D": "Despite the rain it is ({}).",
}
print(f"opencompass {metadata.version('opencompass')}")
failed = False
for reply, answer in PLAIN:
    failed |= read(reply, "ABCD") != answer
    print(f"{reply!r} is {read(reply, 'ABCD')}")
for reply, answer, capital in ENDS:
    found = read(reply, "ABCD")
    failed |= found != capital
    print(f"{reply!r} is {found}")
right = 0
for start, reply in STARTS.items():
    found = [read(reply.format(letter), "ABCD") for letter in "ABCD"]
    failed |= set(found) != {start}
    right += sum(letter == answer for letter, answer in zip(found, "ABCD"))
    print(f"{reply!r} with A, B, C and D is {', '.join(found)}")
print(f"of these {4 * len(STARTS)} replies {right} are read as what they answer")
if failed or right != len(STARTS):
    print("Changed.")
    sys.exit(1)
PYTHON
