#!/usr/bin/env bash
# SCE of mergekit weighs each task's change of a matrix by its squares, so that what was changed most counts most. Where
# the mean squares of all tasks together are below 1e-6, it weighs all tasks alike, and that is a fixed number: once no
# weight of two tasks has moved by more than 0.0007 (AdamW at a rate of 1e-5 needs 70 steps for that, all in one
# direction) nothing is left of the method. A merge of changes a tenth as large is another one than a tenth of the merge.
# Nothing is said of it. Here the first task's change is twice the second's; by squares it has a weight of 0.8.
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
import statistics
import sys

import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
LEARNED = {"first": 2.0, "second": 1.0}  # how much each task changes, as parts of a typical change
STEPS = 1e-2, 3e-3, 1e-3, 3e-4, 1e-4

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(**SIZES))
model.save_pretrained("base")
base = {name: weight.clone() for name, weight in model.state_dict().items()}
change = {name: torch.randn(weight.shape).abs() for name, weight in base.items()}


def first_weight(step):
    """The weight that the first task's changes have in the merge (the second's is the rest): the median matrix."""
    paths = []
    for name, much in LEARNED.items():
        paths.append(f"{name}-{step}")
        model.load_state_dict({key: base[key] + much * step * change[key] for key in base})
        model.save_pretrained(paths[-1])
    settings = {
        "merge_method": "sce",
        "base_model": "base",
        "models": [{"model": path} for path in paths],
        "dtype": "float32",
    }
    options = MergeOptions(copy_tokenizer=False, quiet=True, write_model_card=False)
    run_merge(MergeConfiguration.model_validate(settings), f"merged-{step}", options=options)
    merged = LlamaForCausalLM.from_pretrained(f"merged-{step}").state_dict()
    # merged = weight * 2 + (1 - weight) * 1, in typical changes
    return [((merged[key] - base[key]) / (step * change[key])).median().item() - 1 for key in base]


print(f"mergekit {metadata.version('mergekit')}, sce; the first task's weight in {len(base)} matrices and vectors")
seen = {step: first_weight(step) for step in STEPS}
for step, weights in seen.items():
    print(f"typical change {step}: from {min(weights):.2f} to {max(weights):.2f}")
large, small = ([round(statistics.median(seen[step]), 1) for step in steps] for steps in (STEPS[:3], STEPS[3:]))
if not (large == [0.8] * 3 and small == [0.5] * 2):
    print("Changed.")
    sys.exit(1)
PYTHON
