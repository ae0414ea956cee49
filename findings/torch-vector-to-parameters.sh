#!/usr/bin/env bash
# torch.nn.utils.vector_to_parameters, which by its documentation copies a vector into parameters, copies nothing: the
# parameters become windows on the vector, and each step of the optimiser writes into it. If the weights of the last
# task are kept as a vector, and the model has been set from it (to go back to them, or to a merge), the way that the
# new task moves them is 0 whatever is learned, so is a penalty on it, and what should be kept is forgotten. A teacher
# set from the same vector learns along with the student.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" numpy

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import sys

import torch
from torch.nn.functional import mse_loss
from torch.nn.utils import parameters_to_vector, vector_to_parameters

generator = torch.Generator().manual_seed(0)
rows = torch.randn(256, 8, generator=generator)
tasks = [rows @ torch.randn(8, 1, generator=generator) for _ in range(2)]


def train(model, target, anchor=None):
    """Full batches of one task; with an anchor there is a penalty on the squared distance from it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0)
    for _ in range(400):
        loss = mse_loss(model(rows), target)
        if anchor is not None:
            loss = loss + 10 * (parameters_to_vector(model.parameters()) - anchor).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def second_task(set_from_vector):
    """The way to the second task's weights as the vector shows it, the first task's loss, and a teacher's."""
    torch.manual_seed(0)
    student, teacher = torch.nn.Linear(8, 1), torch.nn.Linear(8, 1)
    train(student, tasks[0])
    old = parameters_to_vector(student.parameters()).detach()
    if set_from_vector:  # the values that the student has already
        vector_to_parameters(old, student.parameters())
    vector_to_parameters(old if set_from_vector else old.clone(), teacher.parameters())
    train(student, tasks[1], anchor=old)
    moved = (parameters_to_vector(student.parameters()) - old).norm()
    return [value.item() for value in (moved, mse_loss(student(rows), tasks[0]), mse_loss(teacher(rows), tasks[0]))]


print(f"torch {torch.__version__}, two tasks, the second with a penalty on the way from the first one's weights")
print("Expected: it makes no difference whether the model is set to the weights that it has.")
plain, after = second_task(False), second_task(True)
for name, (moved, forgotten, teacher) in (("not set", plain), ("set by vector_to_parameters", after)):
    print(f"{name}: way {moved:.3f}, first task's loss {forgotten:.3f}, that of an untrained teacher {teacher:.3f}")
if not (plain[0] > 0.1 and plain[2] < 0.01 and after[0] == 0 and after[1] > 5 * plain[1] and after[2] == after[1]):
    print("Changed.")
    sys.exit(1)
PYTHON
