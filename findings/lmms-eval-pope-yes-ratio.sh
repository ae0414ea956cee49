#!/usr/bin/env bash
# The yes-ratio of POPE in lmms-eval is that of the reference answers: 50 % whatever the model says, one that says
# yes to everything included, which is what the ratio is there to show. And "Yes." and "No." are neither: wrong in
# accuracy, and left out of precision and recall, where POPE's own script takes both.
# Exits with 0 while that is so. Takes about 10 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LMMS_EVAL=0.7.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "lmms-eval==$LMMS_EVAL"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys

pope = runpy.run_path(str(metadata.distribution("lmms-eval").locate_file("lmms_eval/tasks/pope/utils.py")))
METRICS = ("accuracy", "precision", "recall", "yes_ratio")
references = ["yes", "no"] * 3


def measured(replies):
    rows = [
        pope["pope_process_results"]({"answer": reference, "question_id": i}, [reply])
        for i, (reference, reply) in enumerate(zip(references, replies, strict=True))
    ]
    return [pope[f"pope_aggregate_{name}"]([row[f"pope_{name}"] for row in rows]) for name in METRICS]


print(f"lmms-eval {metadata.version('lmms-eval')}, POPE: {references}")
replies = {
    "always yes": ["yes"] * 6,
    "always no": ["no"] * 6,
    "all right": references,
    "all right, with a full stop": [f"{reference.capitalize()}." for reference in references],
}
seen = {name: measured(said) for name, said in replies.items()}
for name, values in seen.items():
    print(f"{name}: {', '.join(f'{metric} {value:.2f}' for metric, value in zip(METRICS, values, strict=True))}")
if {values[3] for values in seen.values()} != {0.5} or seen["all right, with a full stop"][:3] != [0, 0, 0]:
    print("Changed.")
    sys.exit(1)
PYTHON
