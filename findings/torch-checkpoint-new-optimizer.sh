#!/usr/bin/env bash
# torch.distributed.checkpoint.load reads what the state it is given has a place for, and a new optimiser's
# state_dict() has none for moments: model and optimizer.state_dict() are saved and loaded in the same words, nothing
# is said, and AdamW begins anew in the midst of a training. A name that the checkpoint lacks is an error; names of
# it that nobody asks for are not.
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
import torch.distributed.checkpoint as dcp

torch.manual_seed(0)
inputs = torch.randn(64, 4)
targets = inputs.sum(1, keepdim=True)


class Training:
    def __init__(self):
        torch.manual_seed(1)
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)

    def steps(self, count):
        for _ in range(count):
            self.optimizer.zero_grad()
            (self.model(inputs) - targets).square().mean().backward()
            self.optimizer.step()

    def state(self):
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def take(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def goes_on_as_before(one, other):
    """Whether the weights are the same now, and after one step more."""
    now = torch.equal(one.model.weight, other.model.weight)
    one.steps(1)
    other.steps(1)
    return now, torch.equal(one.model.weight, other.model.weight)


first = Training()
first.steps(10)
dcp.save(first.state(), checkpoint_id="by_dcp")
torch.save(first.state(), "by_save")

by_save = Training()
by_save.take(torch.load("by_save", weights_only=True))
by_dcp = Training()
state = by_dcp.state()
dcp.load(state, checkpoint_id="by_dcp")
by_dcp.take(state)
moments = len(by_dcp.optimizer.state)

twin = Training()
twin.steps(10)
outcomes = {"torch.load": goes_on_as_before(first, by_save), "dcp.load": goes_on_as_before(twin, by_dcp)}
print(f"torch {torch.__version__}; a training of ten steps, taken up by a new process")
print(f"dcp.load: {moments} of 2 parameters have moments")
for name, (now, later) in outcomes.items():
    print(f"{name}: the same weights: {now}; after one step more: {later}")
if moments or outcomes != {"torch.load": (True, True), "dcp.load": (True, False)}:
    print("Changed.")
    sys.exit(1)
PYTHON
