#!/usr/bin/env bash
# Avalanche's DER draws batches of its memory that are as large as those of the new task, and with batches larger than
# the memory it draws none at all, without a word: nothing old is shown again. With the memory of 200 rows that is the
# default and batches of 256 what DER learns is, to the bit, what fine-tuning learns, and it forgets as much. ER_ACE
# does so with a batch_size_mem above its mem_size.
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
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import DER, ER_ACE, Naive
from torch import nn


def task(number, seed):
    """1,024 rows of two classes that no other task has."""
    centres = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    classes = 2 * number + torch.randint(2, (1024,), generator=generator)
    return centres[classes] + 0.7 * torch.randn(1024, 10, generator=generator), classes


training = [task(number, 10 + number) for number in range(3)]
test = [task(number, 20 + number) for number in range(3)]


def trained(method, size, **settings):
    """The accuracy on the first task after three, in batches of so many rows, and the weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 6))
    strategy = method(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), criterion=nn.CrossEntropyLoss(),
        train_mb_size=size, train_epochs=20, evaluator=EvaluationPlugin(), **settings,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        for experience in tensors_benchmark(training, test, task_labels=[0] * 3).train_stream:
            torch.manual_seed(experience.current_experience)  # the same order for every method
            strategy.train(experience)
    rows, classes = test[0]
    model.eval()
    with torch.no_grad():
        right = (model(rows).argmax(1) == classes).float().mean().item()
    return right, list(model.parameters())


def alike(first, second):
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


print(f"avalanche-lib {metadata.version('avalanche-lib')}, a memory of 200 rows; the first of three tasks at the end")
seen = {}
for size in (64, 200, 256):
    plain, tuned = trained(Naive, size)
    der, weights = trained(DER, size)
    ace, _ = trained(ER_ACE, size, batch_size_mem=size)
    same = alike(weights, tuned)
    seen[size] = plain, der, ace, same
    print(
        f"batches of {size}: fine-tuning {plain:.0%}; DER {der:.0%}, with {'the same' if same else 'other'} weights; "
        f"ER_ACE {ace:.0%}"
    )
if not all(
    same and abs(ace - plain) < 0.1 if size == 256 else min(der, ace) > plain + 0.3 and not same
    for size, (plain, der, ace, same) in seen.items()
):
    print("Changed.")
    sys.exit(1)
PYTHON
