#!/usr/bin/env bash
# Of several answers to a question lighteval's em (like its F1 and its extractive match) counts the best. As soon as a
# task has avg@8 beside it, the model is asked for 8 answers, and em is pass@8: with answers of which 20 % are right it
# rises from 0.2 to 0.83, under the same name, in the same table. Metrics.drop counts the best question: of 500
# questions one right answer makes em and f1 of the task 1.
# Exits with 0 while that is so. Takes about 2 GB and the package index; Holdfast has no part in it.
set -euo pipefail
LIGHTEVAL=0.13.0 TRANSFORMERS=5.23.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "lighteval==$LIGHTEVAL" "torch==$TORCH" "transformers==$TRANSFORMERS"

cd "$folder" # nothing of a checkout is imported
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
"$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import random
import sys

from lighteval.logging.info_loggers import MetricsLogger
from lighteval.metrics import apply_metric
from lighteval.metrics.metrics import Metrics
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTask, LightevalTaskConfig
from lighteval.tasks.requests import Doc

QUESTIONS, SKILL = 500, 0.2
draw = random.Random(0)


def evaluate(metrics, right=None):
    """A task's results for answers that are right with the probability SKILL, or for `right` right ones in all."""
    task = LightevalTask(
        LightevalTaskConfig(
            name="own", prompt_function=lambda row: None, hf_repo="none", hf_subset="none", metrics=metrics,
            hf_avail_splits=["train", "test"], evaluation_splits=["test"], few_shots_split="train",
        )
    )  # fmt: skip
    asked = max(task.num_samples)  # as the task asks the model for every question
    docs, responses = [], []
    for number in range(QUESTIONS):
        verdicts = [draw.random() < SKILL if right is None else number < right for _ in range(asked)]
        docs.append(Doc(query="", choices=["18"], gold_index=0, specific={"golds_no_preprocessing": ["18"]}))
        responses.append(ModelResponse(text=["18" if verdict else "17" for verdict in verdicts]))
    logger = MetricsLogger()
    for output in apply_metric(responses, docs, metrics):
        logger.log("own|0", output)
    logger.aggregate({"own|0": task}, bootstrap_iters=0)
    return asked, {name: round(float(value), 3) for name, value in logger.metric_aggregated["own|0"].items()}


print(f"lighteval {metadata.version('lighteval')}, {QUESTIONS} questions; {SKILL:.0%} of the answers are right")
alone = evaluate([Metrics.exact_match.value])
beside = evaluate([Metrics.exact_match.value, Metrics.avg_at_n(sample_params={"n": 8})])
for asked, results in (alone, beside):
    print(f"answers asked for: {asked}; {results}")
_, drop = evaluate([Metrics.drop.value], right=1)
print(f"Metrics.drop, one question of {QUESTIONS} right: {drop}")
same = abs(alone[1]["em"] - SKILL) < 0.06 and abs(beside[1]["avg@n:n=8"] - SKILL) < 0.06
best = abs(beside[1]["em"] - (1 - (1 - SKILL) ** 8)) < 0.06
if not (same and best and (alone[0], beside[0]) == (1, 8) and drop == {"em": 1.0, "f1": 1.0}):
    print("Changed.")
    sys.exit(1)
PYTHON
