#!/usr/bin/env bash
# Of a task that names a test_split alone, as over 2,000 of lm-eval's own do (INCLUDE, mmlu_redux, agieval, race), the
# few-shot examples are rows of the test split, and the question that is asked is not left out of the draw: with 5 of 50
# rows a tenth of the questions stand in their own prompt, with their answers. The same holds where validation_split is
# evaluated and fewshot_split names it. Rows are left out only where fewshot_split and test_split are the same word.
# What lm-eval warns of is that the test split "is not recommended"; that an answer is shown is not said.
# Exits with 0 while that is so. Takes about 500 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LM_EVAL=0.4.13 DATASETS=5.2.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "lm_eval==$LM_EVAL" "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
"$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import json
import random
import sys
from pathlib import Path

from lm_eval.tasks import TaskManager

QUESTIONS, EXAMPLES, SEEDS = 50, 5, 10
SPLITS = {
    "test_split: test": "test",
    "test_split: test, fewshot_split: test": "test",
    "validation_split: validation": "validation",
    "validation_split: validation, fewshot_split: validation": "validation",
}
draw = random.Random(0)
rows = [{"question": f"Code of item {i}?", "answer": str(draw.randrange(10**6, 10**7))} for i in range(QUESTIONS)]
Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
Path("tasks").mkdir()
for number, (splits, file) in enumerate(SPLITS.items()):
    lines = splits.replace(", ", "\n")
    Path(f"tasks/own{number}.yaml").write_text(f"""
task: own{number}
dataset_path: json
dataset_kwargs: {{data_files: {{{file}: rows.jsonl}}}}
{lines}
output_type: generate_until
generation_kwargs: {{until: ["\\n"]}}
doc_to_text: "{{{{question}}}} "
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
""")


def answered(name):
    """The share of questions whose own answer stands in their prompt, over several seeds; and one such prompt."""
    found, example = 0, ""
    for seed in range(SEEDS):
        task = TaskManager(include_path="tasks", include_defaults=False).load([name])["tasks"][name]
        task.set_config(key="num_fewshot", value=EXAMPLES)  # as simple_evaluate(num_fewshot=5) does
        task.set_fewshot_seed(seed)
        task.build_all_requests()
        for request in task.instances:
            if request.doc["answer"] in request.args[0]:
                found, example = found + 1, request.args[0]
    return found / SEEDS / QUESTIONS, example


print(f"lm-eval {metadata.version('lm_eval')}, {QUESTIONS} questions, {EXAMPLES} examples, {SEEDS} seeds:")
print("questions that stand in their own prompt with their answer")
shares = []
for number, splits in enumerate(SPLITS):
    share, example = answered(f"own{number}")
    shares.append(share)
    print(f"{splits}: {share:.1%}")
    if not number:
        first = example
print(f"One of the first task:\n{first}")
leaks = [0.07 < share < 0.13 for share in shares]
if leaks != [True, False, False, True] or shares[1] or shares[2]:
    print("Changed.")
    sys.exit(1)
PYTHON
