#!/usr/bin/env bash
# With the same seed lm-eval 0.4.13 asks a question with other few-shot examples on two GPUs than on one: each process
# draws for its own questions from a generator seeded alike, one draw after another. So a checkpoint that is evaluated on
# another number of GPUs (or on some questions chosen by `samples`) is compared on other prompts, and a difference by
# question says nothing; and what two processes draw is drawn twice, for two questions. The results hold the seed, and
# nothing else of it. The first process's first question alone has its examples.
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
import sys
from pathlib import Path

from lm_eval.tasks import TaskManager

QUESTIONS, SEED = 200, 1234
for split, first in (("test", 0), ("train", QUESTIONS)):
    rows = [{"question": f"question {i}", "answer": f"answer {i}"} for i in range(first, first + QUESTIONS)]
    Path(f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
Path("tasks").mkdir()
Path("tasks/own.yaml").write_text("""
task: own
dataset_path: json
dataset_kwargs: {data_files: {test: test.jsonl, train: train.jsonl}}
test_split: test
fewshot_split: train
num_fewshot: 4
output_type: generate_until
generation_kwargs: {until: ["\\n"]}
doc_to_text: "{{question}}: "
doc_to_target: "{{answer}}"
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""")


def prompts(processes=1, samples=None):
    """Of each question, as the evaluator of each process builds them; none is asked by two processes."""
    found = {}
    for rank in range(processes):
        task = TaskManager(include_path="tasks", include_defaults=False).load(["own"])["tasks"]["own"]
        task.set_fewshot_seed(SEED)
        task.build_all_requests(rank=rank, world_size=processes, samples=samples)
        for request in task.instances:
            assert found.setdefault(request.doc["question"], request.args[0]) == request.args[0]
    return found


def examples(prompt):
    return prompt.split("\n\n")[:4]


print(f"lm-eval {metadata.version('lm_eval')}, 4 examples, fewshot_random_seed {SEED}, {QUESTIONS} questions")
alone = prompts()
print(f"one process, again: {sum(alone[key] == prompt for key, prompt in prompts().items())} prompts as before")
changed = prompts() != alone
for processes in (2, 4, 8):
    found = prompts(processes)
    same = sum(alone[key] == prompt for key, prompt in found.items())
    sets = len({tuple(examples(prompt)) for prompt in found.values()})
    print(f"{processes} processes: {same} prompts as with one; {sets} draws of examples for {len(found)} questions")
    changed |= not (set(found) == set(alone) and same <= 2 and sets == QUESTIONS // processes)
some = prompts(samples=list(range(100, QUESTIONS)))
same = sum(alone[key] == prompt for key, prompt in some.items())
print(f"samples, the second half of the questions: {same} of {len(some)} prompts as in the whole")
print(f"question 1 with one process:  {examples(alone['question 1'])}")
print(f"question 1 with two: {examples(prompts(2)['question 1'])}")
if changed or len(some) != 100 or same:
    print("Changed.")
    sys.exit(1)
PYTHON
