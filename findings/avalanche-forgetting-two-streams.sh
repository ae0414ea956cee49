#!/usr/bin/env bash
# Avalanche's forgetting and backward transfer keep one accuracy of each task from just after its training, and whatever
# stream is evaluated last then sets it. If a training is followed by an evaluation of the test rows and then of the
# training rows, to see how far it overfits, the forgetting of the test rows is counted from the accuracy of the
# training rows: what a model overfits is called forgotten. Where the test accuracy falls by 5 points a forgetting of 26
# is told. With the test rows alone, or evaluated last, it is 5. The metric's name has the stream's, and nothing is said
# of it.
# Exits with 0 while that is so. Takes about 7 GB and the package index; Holdfast has no part in it.
set -euo pipefail
AVALANCHE=0.6.0 TORCH=2.14.1 TORCHVISION=0.29.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "torchvision==$TORCHVISION" "avalanche-lib==$AVALANCHE"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys

import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.evaluation.metrics import accuracy_metrics, bwt_metrics, forgetting_metrics
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Cumulative
from torch import nn


def task(number, seed, count):
    """Rows of two classes, elsewhere than those of other tasks."""
    centres = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(2, (count,), generator=generator)
    return centres[2 * number + classes] + 3.0 * torch.randn(count, 40, generator=generator), classes


training = [task(number, 10 + number, 60) for number in range(3)]
test = [task(number, 20 + number, 1000) for number in range(3)]


def measured(*streams):
    """The test accuracy of each task after its training and at the end, and what is said of it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 2))
    benchmark = tensors_benchmark(training, test, task_labels=[0] * 3)
    metrics = [kind(experience=True, stream=True) for kind in (accuracy_metrics, forgetting_metrics, bwt_metrics)]
    strategy = Cumulative(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), criterion=nn.CrossEntropyLoss(),
        train_mb_size=16, train_epochs=50, eval_mb_size=500, evaluator=EvaluationPlugin(*metrics),
    )  # fmt: skip
    found = []
    with contextlib.redirect_stdout(io.StringIO()):
        for experience in benchmark.train_stream:
            torch.manual_seed(experience.current_experience)  # the same order, whatever was evaluated
            strategy.train(experience)
            for stream in streams:
                said = strategy.eval(getattr(benchmark, stream))
            found.append([said[f"Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp{task:03}"] for task in range(3)])
    after, last = [found[task][task] for task in range(2)], found[-1][:2]
    return after, last, said["StreamForgetting/eval_phase/test_stream"], said["StreamBWT/eval_phase/test_stream"]


print(f"avalanche-lib {metadata.version('avalanche-lib')}, three tasks, all earlier rows kept")
seen = {}
for streams in (("test_stream",), ("train_stream", "test_stream"), ("test_stream", "train_stream")):
    after, last, forgetting, transfer = measured(*streams)
    seen[streams] = (sum(after) - sum(last)) / 2, forgetting
    pairs = ", ".join(f"{first:.0%} and {now:.0%} at the end" for first, now in zip(after, last, strict=True))
    print(
        f"evaluated after each task: {', '.join(streams)}; test accuracy {pairs}; "
        f"forgetting of the test stream {forgetting:+.2f}, backward transfer {transfer:+.2f}"
    )
(alone, first), (_, second), (true, third) = seen.values()
rightly = all(abs(said - fallen) < 1e-6 for fallen, said in ((alone, first), (alone, second)))
if not (rightly and abs(true - alone) < 1e-6 and true < 0.1 and third > 0.2):
    print("Changed.")
    sys.exit(1)
PYTHON
