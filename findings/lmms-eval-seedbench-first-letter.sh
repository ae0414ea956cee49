#!/usr/bin/env bash
# SEED-Bench, SEED-Bench 2 and 2 Plus in lmms-eval take the first character of a reply for its option:
# "Answer: D" is A, "Because it is cold: A" is B, "Don't know" is D, and "(B)", "**B**" and "The answer is B"
# are none. A model that writes "Answer: " before each right option is right where A is. Nothing is said of it.
# Exits with 0 while that is so. Takes about 10 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LMMS_EVAL=0.7.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "lmms-eval==$LMMS_EVAL" "loguru==0.7.3"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys

TASKS = "seedbench", "seedbench_2", "seedbench_2_plus"
READ = {  # a reply, and what is read
    "B": "B",
    "B. Two": "B",
    "Answer: D": "A",
    "Because it is cold: A": "B",
    "Don't know": "D",
    "(B)": "(",
    "**B**": "*",
    "The answer is B": "T",
}


def judged(task, replies):
    """What each of the replies is read as, and the share that is right, where A, B, C, D and so on are."""
    functions = runpy.run_path(str(metadata.distribution("lmms-eval").locate_file(f"lmms_eval/tasks/{task}/utils.py")))
    rows = []
    for number, reply in enumerate(replies):
        row = {"answer": "ABCD"[number % 4], "question_id": str(number)}
        row["data_type"] = row["question_image_type"] = "chart"
        rows.append(next(iter(functions["seed_process_result"](row, [reply]).values())))
    return [row["pred"] for row in rows], functions["seed_aggregation_result"](rows)


print(f"lmms-eval {metadata.version('lmms-eval')}: what is read of a reply in {', '.join(TASKS)}")
seen = [judged(task, READ)[0] for task in TASKS]
for reply, *letters in zip(READ, *seen):
    print(f"{reply!r}: {', '.join(letters)}")
accuracies = [judged(task, [f"Answer: {letter}" for letter in "ABCD" * 5])[1] for task in TASKS]
print(f"the accuracy of a model that writes 'Answer: ' and the right letter: {accuracies}")
if seen != [list(READ.values())] * len(TASKS) or accuracies != [0.25] * len(TASKS):
    print("Changed.")
    sys.exit(1)
PYTHON
