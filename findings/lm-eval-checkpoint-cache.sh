#!/usr/bin/env bash
# lm-eval 0.4.13 keeps answers in the file of use_cache by the question alone, not by the model: of several checkpoints
# evaluated with the same file the later ones are not asked, and have the accuracy of the first. So after every stage
# of a sequence nothing is forgotten, and nothing learned; the results name the right checkpoint. Its own word for the
# option is that it "skips repeated inference".
# Exits with 0 while that is so. Takes about 1.3 GB and the package index; Holdfast has no part in it.
set -euo pipefail
LM_EVAL=0.4.13 TRANSFORMERS=5.23.0 ACCELERATE=1.15.0 DATASETS=5.2.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "lm_eval==$LM_EVAL" "torch==$TORCH" "transformers==$TRANSFORMERS" "accelerate==$ACCELERATE" "datasets==$DATASETS"

cd "$folder" # nothing of a checkout is imported
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
"$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import json
import sys
from pathlib import Path

import lm_eval
import torch
from datasets import disable_progress_bars
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

disable_progress_bars()
words = ["<pad>", "<end>", *(f"word{i}" for i in range(62))]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="word0"))
splitter.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>")

rows = [{"question": f"word{i}", "answer": i % 2} for i in range(40)]
Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
Path("tasks").mkdir()
Path("tasks/own.yaml").write_text("""
task: own
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: [word60, word61]
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
""")


def accuracy(stage, cache=None):
    """Of a checkpoint of its own, in a folder of its own."""
    results = lm_eval.simple_evaluate(
        model="hf", model_args={"pretrained": f"stage{stage}", "device": "cpu"}, tasks=["own"], use_cache=cache,
        task_manager=TaskManager(include_path="tasks", include_defaults=False), batch_size=8, bootstrap_iters=0,
    )  # fmt: skip
    assert results["config"]["model_args"]["pretrained"] == f"stage{stage}"
    return results["results"]["own"]["acc,none"]


for stage in range(4):  # as if each had been trained on something
    torch.manual_seed(stage)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight.data, std=0.5)
    model.save_pretrained(f"stage{stage}")
    tokenizer.save_pretrained(f"stage{stage}")

print(f"lm-eval {metadata.version('lm_eval')}, the accuracy of four checkpoints, one after another, on one task")
print("Expected: an answer that is taken from the cache is that of the same model.")
plain = [accuracy(stage) for stage in range(4)]
cached = [accuracy(stage, cache="answers") for stage in range(4)]
print(f"without use_cache: {plain}")
print(f"with it:           {cached}")
if not (len(set(plain)) > 2 and cached == plain[:1] * 4):
    print("Changed.")
    sys.exit(1)
PYTHON
