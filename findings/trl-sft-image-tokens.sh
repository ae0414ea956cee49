#!/usr/bin/env bash
# TRL's SFTTrainer trains on the placeholders of a picture where rows are chats ("messages"): 576 of the 581 tokens
# that count in a LLaVA row with a short question. Loss and mean_token_accuracy tell how well the model repeats
# <image>: 99 % after a few steps in which it has learned no answer.
# Exits with 0 while that is so. Takes about 1.5 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRL=1.16.0 TRANSFORMERS=5.23.0 TORCH=2.13.0 PILLOW=13.0.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "trl==$TRL" "pillow==$PILLOW"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import contextlib
import importlib.metadata as metadata
import io
import sys

import torch
from datasets import Dataset
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from trl import SFTConfig, SFTTrainer

COLOURS = ["red", "green", "blue"]
SIDE = {"shortest_edge": 336}, {"height": 336, "width": 336}
words = ["<pad>", "<end>", "<image>", "what", "colour", "user", "assistant", *COLOURS]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
splitter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
processor = LlavaProcessor(
    CLIPImageProcessorPil(size=SIDE[0], crop_size=SIDE[1]),
    PreTrainedTokenizerFast(
        tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>", additional_special_tokens=["<image>"]
    ),
    patch_size=14,
    vision_feature_select_strategy="default",
    num_additional_image_tokens=1,
    chat_template="{% for turn in messages %}{{ turn.role }} {% for part in turn.content %}"
    "{{ '<image>' if part.type == 'image' else part.text }} {% endfor %}{% endfor %}",
)
torch.manual_seed(0)
sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
model = LlavaForConditionalGeneration(
    LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=336, patch_size=14, **sizes),
        text_config=LlamaConfig(vocab_size=16, pad_token_id=0, bos_token_id=None, eos_token_id=1, **sizes),
        image_token_index=2,
        vision_feature_layer=-1,
    )
)
rows = [
    {
        "images": [Image.new("RGB", (336, 336), colour)],
        "messages": [{"role": "user", "content": "what colour"}, {"role": "assistant", "content": colour}],
    }
    for colour in COLOURS * 4
]
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    trainer = SFTTrainer(
        model,
        args=SFTConfig(
            output_dir="out", max_steps=8, logging_steps=2, save_strategy="no", report_to="none", use_cpu=True,
            per_device_train_batch_size=6, learning_rate=1e-2, bf16=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=processor,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.train()
with torch.no_grad():
    guesses = model.eval()(**batch).logits[:, -2].argmax(-1)
right = (guesses == batch["input_ids"][:, -1]).float().mean().item()
counted = batch["labels"] != -100
placeholders = ((batch["labels"] == 2) & counted).sum() / counted.sum()
logged = [entry["mean_token_accuracy"] for entry in trainer.state.log_history if "mean_token_accuracy" in entry][-1]
print(f"trl {metadata.version('trl')}, transformers {metadata.version('transformers')}")
print(f"Of the {int(counted[0].sum())} labels of a row that count, {placeholders:.1%} are placeholders of its picture.")
print(f"After 8 steps mean_token_accuracy is {logged:.1%}; of the answers {right:.0%} are right.")
if not (placeholders > 0.95 and logged > 0.95 and right < 0.7):
    print("Changed.")
    sys.exit(1)
PYTHON
