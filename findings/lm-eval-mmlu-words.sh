#!/usr/bin/env bash
# MMLU of lm-eval as flan_cot_zeroshot, flexible-extract: where an answer has no letter in parentheses, the texts of the
# options are looked for in it before its letter is, as parts of words, too, and the last one found is the answer. So
# of the options Yes, No and Unclear "As we now know, the answer is: A" is B, for its "now" and "know", and right where
# B is the reference; of 2, 3 and 12 "5 - 3 = 2, so the answer is: A" is A and "Of 5 take 3: the answer is: A" is B.
# "The answer is A" without a colon has no answer. gpqa's generative tasks take theirs in the same way.
# Exits with 0 while that is so. Takes about 800 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LM_EVAL=0.4.13 DATASETS=5.2.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "lm_eval==$LM_EVAL" "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import json
import sys
from pathlib import Path

from datasets import disable_progress_bars
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

disable_progress_bars()
WORDS, NUMBERS = ["Yes", "No", "Unclear", "Never"], ["2", "3", "12", "20"]
CASES = (  # options, what a model says, and the answer taken of it
    (WORDS, "As we know by now, the answer is (A).", "(A)"),
    (WORDS, "As it is clear, the answer is: A", "(A)"),
    (WORDS, "As we now know, the answer is: A", "(B)"),
    (WORDS, "I cannot say. The answer is: C", "(B)"),
    (WORDS, "The answer is A.", "[invalid]"),
    (NUMBERS, "5 - 3 = 2, so the answer is: A", "(A)"),
    (NUMBERS, "Of 5 take 3: the answer is: A", "(B)"),
    (NUMBERS, "12 is 32 less 20, so the answer is: C", "(D)"),
)
rows = [{"question": "Is it so?", "choices": options, "answer": 1, "subject": "any"} for options, _, _ in CASES]
Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
name = "lm_eval/tasks/mmlu/flan_cot_zeroshot/_mmlu_flan_cot_zeroshot_template_yaml"
shipped = metadata.distribution("lm_eval").locate_file(name)
Path("task").mkdir()
Path("task/rows.yaml").write_text(f"""include: {shipped}
task: mmlu_of_rows
dataset_path: json
dataset_name: default
dataset_kwargs: {{data_files: {{validation: rows.jsonl, dev: rows.jsonl}}}}
""")


class Says(LM):
    """A model that says the answers one after the other."""

    def generate_until(self, requests, disable_tqdm=False):
        return [answer for _, answer, _ in CASES]

    def loglikelihood(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


tasks = TaskManager(include_path="task", include_defaults=False)
result = simple_evaluate(Says(), tasks=["mmlu_of_rows"], task_manager=tasks, log_samples=True, bootstrap_iters=0)
print(f"lm-eval {metadata.version('lm_eval')}, MMLU flan_cot_zeroshot, flexible-extract, for the reference (B)")
seen = []
for sample in result["samples"]["mmlu_of_rows"]:
    if sample["filter"] == "flexible-extract":
        taken, options = sample["filtered_resps"][0], sample["doc"]["choices"]
        seen.append((options, sample["resps"][0][0], taken))
        print(f"{', '.join(options)}: {seen[-1][1]!r} is {taken}: {'right' if sample['exact_match'] else 'wrong'}")
if tuple(seen) != CASES:
    print("Changed.")
    sys.exit(1)
PYTHON
