#!/usr/bin/env bash
# mergekit takes parameters that a method does not have, and does nothing with them, without a word: with sce,
# model_stock, karcher and ram weights of 1 and 0 for two tasks give the same model as weights of 1 and 1, bit by bit,
# so that a search for weights merges one model over and over; task_arithmetic takes a density of 0.2 and keeps all; and
# a misspelt lamda of 0.3 for the task vectors' scale leaves it at 1.
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
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - 2>said.txt <<'PYTHON' || { cat said.txt; exit 1; }
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
for task in TASKS:
    common = torch.Generator().manual_seed(1)  # both tasks have moved the weights in part alike
    model.load_state_dict({
        name: weight + 0.01 * torch.randn(weight.shape, generator=common) + 0.01 * torch.randn(weight.shape)
        for name, weight in base.items()
    })  # fmt: skip
    model.save_pretrained(task)
numbers = itertools.count()


def merged(method, first={}, second={}, **settings):
    """The weights of a merge, where each task has parameters of its own."""
    models = [{"model": task, "parameters": given} for task, given in zip(TASKS, (first, second), strict=True)]
    merge = {"merge_method": method, "base_model": "base", "models": models, "dtype": "float32", "parameters": settings}
    folder = f"merged-{next(numbers)}"
    options = MergeOptions(copy_tokenizer=False, quiet=True, write_model_card=False)
    run_merge(MergeConfiguration.model_validate(merge), folder, options=options)
    return LlamaForCausalLM.from_pretrained(folder).state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in base)


print(f"mergekit {metadata.version('mergekit')}")
one, none = {"weight": 1.0}, {"weight": 0.0}
weighted = {}
for method in ("task_arithmetic", "ties", "sce", "model_stock", "karcher", "ram"):
    weighted[method] = not same(merged(method, one, one), merged(method, one, none))
    print(f"{method}: weights of 1 and 0 give {'another' if weighted[method] else 'the same'} model as 1 and 1")
whole = merged("task_arithmetic", one, one)
DIFFERENT = {
    "lambda: 0.3": merged("task_arithmetic", one, one, **{"lambda": 0.3}),
    "lamda: 0.3": merged("task_arithmetic", one, one, lamda=0.3),
    "density: 0.2": merged("task_arithmetic", one, one, density=0.2),
}
told = {name: not same(whole, found) for name, found in DIFFERENT.items()}
for name, differs in told.items():
    print(f"task_arithmetic with {name}: {'another' if differs else 'the same'} model")
if [method for method in weighted if weighted[method]] != ["task_arithmetic", "ties"] or list(told.values()) != [
    True, False, False,
]:  # fmt: skip
    print("Changed.")
    sys.exit(1)
PYTHON
if grep -iE "lamda|density|unused|unknown|ignor" said.txt; then
    echo "Changed: something is said of it."
    exit 1
fi
