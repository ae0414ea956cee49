#!/usr/bin/env bash
# A task is taken out of a model with a weight of -1, as in task arithmetic. With ties and della mergekit puts it in
# instead, whole: they divide by the sum of the weights, which is -1, too, unless they are told not to. A weight of 0.3
# is one of 1, two of -0.3 are the merge of two of 1, and of 1 and -0.5 the first becomes 1.9. dare_ties, a sister by
# its name, takes the task out: there the default is the other one. Nothing is said of it.
# Exits with 0 while that is so. Takes about 1.3 GB and the package index; Holdfast has no part in it.
set -euo pipefail
MERGEKIT=0.1.5 TRANSFORMERS=5.23.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "mergekit==$MERGEKIT" "torch==$TORCH" "transformers==$TRANSFORMERS"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import itertools
import sys

import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2)
TASKS = "first", "second"

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(**SIZES))
model.save_pretrained("base")
base = {name: weight.clone() for name, weight in model.state_dict().items()}
learned = {task: {name: 0.01 * torch.randn(weight.shape) for name, weight in base.items()} for task in TASKS}
for task, change in learned.items():
    model.load_state_dict({name: base[name] + change[name] for name in base})
    model.save_pretrained(task)
numbers = itertools.count()


def flat(weights):
    return torch.cat([weights[name].flatten() for name in base])


def shares(method, weights, **settings):
    """How much of each task's change is in the merge (by least squares)."""
    models = [
        {"model": task, "parameters": {"weight": weight, "density": 1.0}}
        for task, weight in zip(TASKS, weights, strict=False)
    ]
    merge = {"merge_method": method, "base_model": "base", "models": models, "dtype": "float32", **settings}
    folder = f"merged-{next(numbers)}"
    options = MergeOptions(copy_tokenizer=False, quiet=True, write_model_card=False)
    run_merge(MergeConfiguration.model_validate(merge), folder, options=options)
    moved = flat(LlamaForCausalLM.from_pretrained(folder).state_dict()) - flat(base)
    changes = torch.stack([flat(learned[task]) for task in TASKS], 1)
    found = torch.linalg.lstsq(changes, moved[:, None]).solution.flatten().tolist()
    return [round(share, 1) + 0.0 for share in found[: len(weights)]]


print(f"mergekit {metadata.version('mergekit')}, density 1; how much of each task is in the merge")
MERGES = [-1.0], [0.3], [1.0, 1.0], [-0.3, -0.3], [1.0, -0.5]
METHODS = "task_arithmetic", "dare_ties", "ties", "della"
seen = {}
for method in METHODS:
    seen[method] = [shares(method, weights) for weights in MERGES]
    print(f"{method}: " + ", ".join(f"{weights} gives {found}" for weights, found in zip(MERGES, seen[method])))
told = shares("ties", [-1.0], parameters={"normalize": False})
print(f"ties with normalize: false: [-1.0] gives {told}")
turned = [[1.0], [1.0], [0.7, 0.7], [0.7, 0.7], [1.9, -0.6]]
if not (
    all(seen[method][0] == [-1.0] and seen[method][1] == [0.3] for method in METHODS[:2])
    and all(seen[method] == turned for method in METHODS[2:])
    and told == [-1.0]
):
    print("Changed.")
    sys.exit(1)
PYTHON
