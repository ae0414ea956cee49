#!/usr/bin/env bash
# peft's Lily mixes its shared matrices by shares that a router gives, and takes the mean of the shares over all tokens
# of all rows of the batch. So what a row is answered depends on the rows beside it, and a token's on the tokens that
# come after it. An adapter that has learned two tasks in turn is right on every row alone and in batches of one task;
# eight rows of the first among 128 of the second are right in a quarter of the cases. Answers change with
# the batch size of an evaluation, with its order and with padding, training sees the tokens that it is to predict, and
# nothing says so: the documentation has a weighted combination "for each forward pass". LoRA has none of it.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.24.0 PEFT=0.21.2 TORCH=2.14.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "peft==$PEFT"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import torch
from peft import LilyConfig, LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
KINDS = {
    "LoRA": LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    "Lily": LilyConfig(r=16, num_B=2, target_modules="all-linear", task_type="CAUSAL_LM"),
}


def rows(task, count, seed):
    """Rows of a task's name, a question and its answer; the tasks answer the same questions differently."""
    questions = torch.randint(30, (count, 1), generator=torch.Generator().manual_seed(seed))
    answers = (questions * (7, 11)[task] + (3, 17)[task]) % 30 + 30
    return torch.cat([torch.full((count, 1), 60 + task), questions, answers], 1)


def right(model, batch, first=None):
    """The share of the first rows of a batch whose answer is given."""
    with torch.no_grad():
        guesses = model(batch).logits[:, 1].argmax(-1)
    return (guesses == batch[:, 2])[:first].float().mean().item()


def seen(config):
    torch.manual_seed(0)
    model = get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), config)
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-2, weight_decay=0)
    for step in range(1000):
        batch = rows(step % 2, 32, step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch).logits[:, 1], batch[:, 2]).backward()
        optimizer.step()
    model.eval()
    first, second = rows(0, 128, 5000), rows(1, 128, 5001)
    other = first.clone()
    other[:, 2] = 60
    with torch.no_grad():
        moved = (model(first).logits[:, 1] - model(other).logits[:, 1]).abs().max().item()
    alone = sum(right(model, row[None]) for row in first[:8]) / 8
    return alone, right(model, first), right(model, second), right(model, torch.cat([first[:8], second]), 8), moved


print(f"peft {metadata.version('peft')}; an adapter of two tasks")
results = {kind: seen(config) for kind, config in KINDS.items()}
for kind, (alone, first, second, among, moved) in results.items():
    print(
        f"{kind}: right {alone:.0%} alone, {first:.0%} and {second:.0%} in batches of one task, {among:.0%} of eight "
        f"rows among 128 of the other task; with another last token logits before it move by {moved:.2g}"
    )
*plain, still = results["LoRA"]
*batches, among, moved = results["Lily"]
if not (min(plain) > 0.95 and still < 1e-4 and min(batches) > 0.95 and among < 0.7 and moved > 1e-3):
    print("Changed.")
    sys.exit(1)
PYTHON
