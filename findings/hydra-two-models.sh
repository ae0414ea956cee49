#!/usr/bin/env bash
# Hydra's instantiate makes an object anew at every place that names it: model: ${model} in two places of one
# configuration is two models. So an optimizer that gets ${model} trains another model than the loop, whose loss stays
# what it was while gradients flow; and an evaluation that gets ${model} measures weights drawn at random. The same
# configuration with the model handed over in code learns. ${model} for numbers is one value, and no warning is given.
# Exits with 0 while that is so. Takes about 900 MB and the package index; Holdfast has no part in it.
set -euo pipefail
HYDRA=1.3.8 OMEGACONF=2.3.1 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "hydra-core==$HYDRA" "omegaconf==$OMEGACONF" "torch==$TORCH"

cd "$folder" # nothing of a checkout is imported
cat >parts.py <<'PYTHON'
import torch


def adamw(model, rate):
    return torch.optim.AdamW(model.parameters(), lr=rate)


class Training:
    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer

    def losses(self, steps):
        """The loss of each step, on the same rows."""
        x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
        for _ in range(steps):
            loss = (self.model(x) - x.sum(1, keepdim=True)).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield loss.item()
PYTHON
cat >configuration.yaml <<'YAML'
model: {_target_: torch.nn.Linear, in_features: 8, out_features: 1}
training:
  _target_: parts.Training
  model: ${model}
  optimizer: {_target_: parts.adamw, model: "${model}", rate: 0.1}
YAML
PYTHONPATH=. "$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from parts import Training, adamw

print(", ".join(f"{name} {metadata.version(name)}" for name in ("hydra-core", "omegaconf", "torch")))
configuration = OmegaConf.load("configuration.yaml")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    torch.manual_seed(0)
    whole = instantiate(configuration)
    torch.manual_seed(0)
    model = instantiate(configuration.model)
training = whole.training
trained = {id(weight) for group in training.optimizer.param_groups for weight in group["params"]}
same = [whole.model is training.model, trained == {id(weight) for weight in training.model.parameters()}]
print(f"whole.model is whole.training.model: {same[0]}; the optimizer has the training's weights: {same[1]}")
runs = {}
for name, made in {"configuration": training, "code": Training(model, adamw(model, 0.1))}.items():
    runs[name] = list(made.losses(100))
    print(f"by {name}: loss {runs[name][0]:.2f}, after 100 steps {runs[name][-1]:.2f}")
print(f"warnings: {len(caught)}")
if any(same) or caught or len(set(runs["configuration"])) != 1 or runs["code"][-1] > 0.1:
    print("Changed.")
    sys.exit(1)
PYTHON
