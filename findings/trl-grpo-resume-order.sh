#!/usr/bin/env bash
# A GRPO training of TRL that is taken up again in its second epoch (or a later one) goes on in the order of the first:
# some prompts of the epoch are trained twice and as many never. The order is drawn from a generator that begins anew
# with every process, and nothing winds it on. Trainer, whose resume_from_checkpoint it is, goes on where it was.
# Exits with 0 while that is so. Takes about 1.5 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRL=1.16.0 TRANSFORMERS=5.23.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "transformers==$TRANSFORMERS" "trl==$TRL"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from trl import GRPOConfig, GRPOTrainer

PROMPTS, STOP = 20, 35
words = ["<pad>", "<end>", *(f"word{i}" for i in range(PROMPTS))]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
splitter.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>")
sizes = dict(vocab_size=32, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
common = dict(num_train_epochs=2, save_steps=STOP, report_to="none", use_cpu=True, bf16=False)


class Stop(TrainerCallback):
    """Ends a training as a machine that is taken away does, but that its checkpoint is written."""

    def on_step_end(self, args, state, control, **_):
        control.should_training_stop |= state.global_step == STOP


def grpo(model, callbacks, resume):
    seen = []

    def reward(prompts, completions, **_):
        seen.append(int(prompts[0].removeprefix("word")))
        return [float(len(completion)) for completion in completions]

    arguments = GRPOConfig("grpo", per_device_train_batch_size=2, num_generations=2, max_completion_length=4, **common)
    rows = Dataset.from_dict({"prompt": words[2:]})
    trainer = GRPOTrainer(model, reward, arguments, rows, processing_class=tokenizer, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume and f"grpo/checkpoint-{STOP}")
    return seen


def sft(model, callbacks, resume):
    seen = []

    def collate(rows):
        seen.append(rows[0]["input_ids"][0] - 2)
        return {name: torch.tensor([row["input_ids"] for row in rows]) for name in ("input_ids", "labels")}

    arguments = TrainingArguments("sft", per_device_train_batch_size=1, **common)
    rows = Dataset.from_dict({"input_ids": [[i + 2, 1] for i in range(PROMPTS)]})
    trainer = Trainer(model, arguments, collate, rows, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume and f"sft/checkpoint-{STOP}")
    return seen


def order(train, stop, resume):
    """The rows that a training takes, one a step."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return train(model, [Stop()] if stop else [], resume)


print(f"trl {metadata.version('trl')}, transformers {metadata.version('transformers')}; 2 epochs of {PROMPTS} rows")
found = {}
for train in (sft, grpo):
    whole, before, after = order(train, False, False), order(train, True, False), order(train, False, True)
    after = after[-(2 * PROMPTS - STOP) :]  # a loader may look at rows that it skips
    second = before[PROMPTS:STOP] + after
    found[train] = len(second) - len(set(second)), after == whole[STOP:], after == whole[STOP - PROMPTS : PROMPTS]
    print(
        f"{train.__name__}, stopped at step {STOP}: the rest is {after}, without a stop {whole[STOP:]}; "
        f"trained twice in the second epoch: {found[train][0]}, never: {found[train][0]}"
    )
if not (found[sft] == (0, True, False) and found[grpo][0] > 0 and found[grpo][1:] == (False, True)):
    print("Changed.")
    sys.exit(1)
PYTHON
