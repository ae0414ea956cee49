#!/usr/bin/env bash
# TRL's SFTTrainer puts the end after every answer of plain text (rows with "prompt" and "completion"), and after none
# where the rows have pictures: the same answers are learned without an end, with a loss that is as low, and the model
# says the answer over and over until max_new_tokens. A chat template that writes the end is not touched by this.
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
SIDE = {"shortest_edge": 28}, {"height": 28, "width": 28}
words = ["<pad>", "<end>", "<image>", "what", "colour", "user", "assistant", *COLOURS]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
splitter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>", additional_special_tokens=["<image>"]
)
processor = LlavaProcessor(
    CLIPImageProcessorPil(size=SIDE[0], crop_size=SIDE[1]),
    tokenizer,
    patch_size=14,
    vision_feature_select_strategy="default",
    num_additional_image_tokens=1,
)
sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)


def learned(rows):
    """What a model, trained on the rows, says to the first of them, the labels of that row, and the last loss."""
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(image_size=28, patch_size=14, **sizes),
            text_config=LlamaConfig(vocab_size=16, pad_token_id=0, bos_token_id=None, eos_token_id=1, **sizes),
            image_token_index=2,
            vision_feature_layer=-1,
        )
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = SFTTrainer(
            model,
            args=SFTConfig(
                output_dir="out", max_steps=60, logging_steps=60, save_strategy="no", report_to="none", use_cpu=True,
                per_device_train_batch_size=3, learning_rate=1e-2, bf16=False,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=processor,
        )  # fmt: skip
        labels = next(iter(trainer.get_train_dataloader()))["labels"][0]
        trainer.train()
    inputs = processor(images=rows[0].get("images"), text=rows[0]["prompt"], return_tensors="pt")
    said = model.eval().generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    loss = next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    return processor.decode(said), processor.decode(labels[labels != -100]), loss


text = [{"prompt": f"user what colour {colour} assistant", "completion": f" {colour}"} for colour in COLOURS]
pictures = [
    {
        "images": [Image.new("RGB", (28, 28), colour)],
        "prompt": "<image> user what colour assistant",
        "completion": f" {colour}",
    }
    for colour in COLOURS
]
print(f"trl {metadata.version('trl')}, transformers {metadata.version('transformers')}; one LLaVA and its processor")
seen = {"text alone": learned(text), "with pictures": learned(pictures)}
for name, (said, labels, loss) in seen.items():
    print(f"{name}: labels of a row {labels!r}, loss {loss:.2f}; greedy answer {said!r}")
(said, labels, _), (endless, other_labels, _) = seen.values()
if not (said == "red <end>" and "<end>" in labels and "<end>" not in other_labels and endless.count("red") > 10):
    print("Changed.")
    sys.exit(1)
PYTHON
