#!/usr/bin/env bash
# Of a text that ends in "$\boxed{18}$." lm-eval 0.4.13 takes "$." as GSM8K's answer, and of "$$\boxed{18}$$" the two
# dollar signs: flexible-extract takes the last run of two or more among digits, dollar signs, commas and full stops,
# and no digit need be in it. "$18.00" is wrong for 18, too. Other right answers are right, so a model that a new
# training has taught to write LaTeX seems to have forgotten how to reckon. It is gsm8k_cot_zeroshot as it ships, with
# its whole evaluation, over one question with several answers.
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
ANSWERS = (  # the end of what a model says, all of it right, and whether it counts as right
    ("The answer is 18.", True),
    (r"The answer is $\boxed{18}$", True),
    (r"The answer is $\boxed{18}$.", False),
    (r"$$\boxed{18}$$", False),
    ("She makes $18 every day.", True),
    ("She makes $18.00 every day.", False),
)
row = {"question": "How much in dollars does she make every day?", "answer": "She makes 9 * 2 = 18 dollars.\n#### 18"}
Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in ANSWERS))
shipped = Path(metadata.distribution("lm_eval").locate_file("lm_eval/tasks/gsm8k/gsm8k-cot-zeroshot.yaml"))
Path("task").mkdir()
Path("task/rows.yaml").write_text(f"""include: {shipped}
task: gsm8k_of_rows
dataset_path: json
dataset_name: default
dataset_kwargs: {{data_files: {{train: rows.jsonl, test: rows.jsonl}}}}
""")


class Says(LM):
    """A model that says the answers one after the other."""

    def generate_until(self, requests, disable_tqdm=False):
        return [answer for answer, _ in ANSWERS]

    def loglikelihood(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


tasks = TaskManager(include_path="task", include_defaults=False)
result = simple_evaluate(Says(), tasks=["gsm8k_of_rows"], task_manager=tasks, log_samples=True, bootstrap_iters=0)
print(f"lm-eval {metadata.version('lm_eval')}, gsm8k_cot_zeroshot, flexible-extract, for the reference 18")
seen = []
for sample in result["samples"]["gsm8k_of_rows"]:
    if sample["filter"] == "flexible-extract":
        seen.append((sample["resps"][0][0], sample["exact_match"] == 1))
        print(f"{seen[-1][0]!r}: {sample['filtered_resps'][0]!r} is {'right' if seen[-1][1] else 'wrong'}")
accuracy = result["results"]["gsm8k_of_rows"]["exact_match,flexible-extract"]
print(f"Accuracy: {accuracy:.2f}")
if not (tuple(seen) == ANSWERS and accuracy == 0.5):
    print("Changed.")
    sys.exit(1)
PYTHON
