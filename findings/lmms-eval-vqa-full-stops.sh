#!/usr/bin/env bash
# The normaliser of VQA answers in lmms-eval, EvalAIAnswerProcessor, as in the original script, takes away the first
# 32 full stops only: it passes re.UNICODE, which is 32, where re.sub takes a count. It also remembers every word it
# has met, for as long as it lives, in a table that all of them share (setdefault on a table of the class).
# Exits with 0 while that is so. Takes about 10 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LMMS_EVAL=0.7.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "lmms-eval==$LMMS_EVAL"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys
from pathlib import Path

root = Path(metadata.distribution("lmms-eval").locate_file("lmms_eval/tasks/_task_utils/vqa_eval_metric.py"))
processor = runpy.run_path(str(root))["EvalAIAnswerProcessor"]
print(f"lmms-eval {metadata.version('lmms-eval')}")
known = len(processor.NUMBER_MAP)
left = processor()(" ".join(["dog."] * 40)).count(".")
print(f"Of 40 full stops, {left} stay.")
processor()("three words more")
learned = len(processor.NUMBER_MAP) - known
print(f"The table of number words holds {learned} entries more after two answers.")
if left != 8 or not learned:
    print("Changed.")
    sys.exit(1)
PYTHON
