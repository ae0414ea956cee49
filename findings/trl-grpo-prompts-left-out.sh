#!/usr/bin/env bash
# GRPO and RLOO of TRL leave out the prompts that do not fill a whole round of generation, though dataloader_drop_last
# is False: of 31 prompts, where a round takes 16 (8 rows a part, 4 parts a step, 2 completions a prompt), an epoch asks
# 16, and the log calls that epoch 1.0. Which ones is drawn anew in the next epoch, and after three 3 of 31 are still
# unasked; with accumulation over one part instead of four an epoch asks 28. So the settings of a step decide how much
# of a small task is trained. Neither their documentation tells, nor a warning.
# Exits with 0 while that is so. Takes about 1.4 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRL=1.16.0 TRANSFORMERS=5.24.0 DATASETS=5.2.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "datasets==$DATASETS" "trl==$TRL"

cd "$folder" # nothing of a checkout is imported
cat >run.py <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

logging.disable_progress_bar()
words = ["<pad>", "<end>", *(f"word{i}" for i in range(62))]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="word0"))
splitter.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>")
sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
prompts = Dataset.from_list([dict(prompt=f"word{i}", number=i) for i in range(31)])


def train(way, settings, epochs, parts):
    """How many prompts are asked, what the log calls the end, and dataloader_drop_last."""
    asked = set()

    def reward(completions, number, **_):
        asked.update(number)
        return [float(len(text) % 3) for text in completions]

    model = LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = way(
            model, reward_funcs=reward, train_dataset=prompts, processing_class=tokenizer, args=settings(
                output_dir="out", num_train_epochs=epochs, per_device_train_batch_size=8, num_generations=2,
                gradient_accumulation_steps=parts, max_completion_length=4, beta=0.0, use_cpu=True, bf16=False,
                report_to="none", save_strategy="no", logging_steps=1,
            ),
        )  # fmt: skip
        trainer.train()
    return len(asked), trainer.state.log_history[-1]["epoch"], trainer.args.dataloader_drop_last


print(", ".join(f"{name} {metadata.version(name)}" for name in ("trl", "transformers")) + f"; {len(prompts)} prompts")
seen = {}
for way, settings in ((GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)):
    for epochs, parts in ((1, 4), (3, 4), (1, 1)):
        key = way.__name__, epochs, parts
        asked, end, drop = seen[key] = train(way, settings, epochs, parts)
        print(f"{way.__name__}, {4 * parts} prompts a round: {asked} asked up to epoch {end}; drop_last={drop}")
for name in ("GRPOTrainer", "RLOOTrainer"):
    if seen[name, 1, 4] != (16, 1.0, False) or seen[name, 1, 1] != (28, 1.0, False) or seen[name, 3, 4][0] == 31:
        sys.exit("Changed.")
PYTHON
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TQDM_DISABLE=1 "$python" -W ignore run.py
