#!/usr/bin/env bash
# The standard error that lighteval gives beside a metric that is no mean (MCC, F1, BLEU, ...) is from 1,000 bootstrap
# draws: their standard deviation, which is the standard error, divided once more by the root of 1,000. So it is a 32nd
# of what the metric differs by when the same model answers other questions, and nearly every difference of two
# checkpoints is "significant"; more draws make it smaller yet. Beside the average of the 16 parts of a benchmark it
# gives the mean of their standard errors, which is 4 times (the root of 16) that of the average. Of an accuracy of one
# task it is right.
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
cat >errors.py <<'PYTHON' # a file: the bootstrap starts processes
import importlib.metadata as metadata
import random
import statistics
import sys

from lighteval.logging.info_loggers import MetricsLogger
from lighteval.metrics import apply_metric
from lighteval.metrics.metrics import Metrics
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTask, LightevalTaskConfig
from lighteval.tasks.requests import Doc

ROWS, SKILL, TIMES, PARTS = 200, 0.8, 300, 16
METRICS = [Metrics.mcc.value, Metrics.loglikelihood_acc.value]
draw = random.Random(0)


def task(name):
    return LightevalTask(
        LightevalTaskConfig(
            name=name, prompt_function=lambda row: None, hf_repo="none", hf_subset="none", metrics=METRICS,
            hf_avail_splits=["train", "test"], evaluation_splits=["test"], few_shots_split="train",
        )
    )  # fmt: skip


def evaluate(names, draws):
    """What lighteval makes of a model that answers a yes-or-no question rightly with the probability SKILL."""
    logger = MetricsLogger()
    for name in names:
        docs, responses = [], []
        for _ in range(ROWS):
            gold = draw.randrange(2)
            answer = gold if draw.random() < SKILL else 1 - gold
            docs.append(Doc(query="", choices=["no", "yes"], gold_index=gold))
            responses.append(ModelResponse(logprobs=[-0.1 if choice == answer else -2.0 for choice in range(2)]))
        for output in apply_metric(responses, docs, METRICS):
            logger.log(f"{name}|0", output)
    logger.aggregate({f"{name}|0": task(name) for name in names}, bootstrap_iters=draws)
    return logger.metric_aggregated


def spread(names, row, metric):
    return statistics.stdev(float(evaluate(names, 0)[row][metric]) for _ in range(TIMES))


if __name__ == "__main__":
    parts = [f"own:{part}" for part in range(PARTS)]
    one = evaluate(["own"], 1000)["own|0"]
    ratios = {}
    print(f"lighteval {metadata.version('lighteval')}, {ROWS} questions, a model that is right on {SKILL:.0%}")
    for metric in ("mcc", "acc"):
        true = spread(["own"], "own|0", metric)
        ratios[metric] = one[f"{metric}_stderr"] / true
        print(f"{metric}: {one[metric]:.3f}, standard error {one[f'{metric}_stderr']:.4f}; of {TIMES} such runs {true:.4f}")
    average = evaluate(parts, 1000)["own:_average|0"]
    true = (SKILL * (1 - SKILL) / ROWS / PARTS) ** 0.5
    ratios["average"] = average["acc_stderr"] / true
    print(f"average acc of {PARTS} such tasks: {average['acc']:.3f}, standard error {average['acc_stderr']:.4f}; "
          f"that of so many questions: {true:.4f}")  # fmt: skip
    print("given / true: " + ", ".join(f"{key} {ratio:.2f}" for key, ratio in ratios.items()))
    if not (ratios["mcc"] < 0.05 and 0.8 < ratios["acc"] < 1.2 and 3.6 < ratios["average"] < 4.4):
        print("Changed.")
        sys.exit(1)
PYTHON
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 LIGHTEVAL_DISABLE_TQDM=1
"$python" -W ignore errors.py 2>log.txt || { tail -n 20 log.txt; exit 1; }
