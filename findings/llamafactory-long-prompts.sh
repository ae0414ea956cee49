#!/usr/bin/env bash
# A row longer than LLaMA-Factory's cutoff_len (2048 if not set) is made shorter from the end of its prompt, and that is
# where the question stands, after the document or the pictures, and the words that begin the assistant's turn. What is
# left, without a word, is a row that teaches the answer to a question that is not there, in the middle of the user's
# turn. Three pictures of 728 by 728 are enough: all their tokens are kept, so that nothing fails, and two words of the
# question. It is the same for what is generated: the model goes on with the document.
# Exits with 0 while that is so. Takes about 1.5 GB and the package index; Holdfast has no part in it.
set -euo pipefail
LLAMAFACTORY=0.9.5 TRANSFORMERS=5.6.0 PEFT=0.18.1 TRL=0.24.0 ACCELERATE=1.11.0 DATASETS=4.0.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "torch==$TORCH" "transformers==$TRANSFORMERS" "peft==$PEFT" "trl==$TRL" "accelerate==$ACCELERATE" \
    "datasets==$DATASETS" "av<=16.0.0" omegaconf pillow
pip install --no-deps "llamafactory==$LLAMAFACTORY" # the rest of what it asks for is for its pages and for sound

cd "$folder" # nothing of a checkout is imported
touch torchaudio.py # imported, for sound, and not used here
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" -W ignore - 2>log.txt <<'PYTHON' \
    || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys
from types import SimpleNamespace

from llamafactory.data.processor import SupervisedDatasetProcessor, UnsupervisedDatasetProcessor
from llamafactory.data.template import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

PICTURE, ROLES = "<|image_pad|>", "<|im_start|> <|im_end|> <|vision_start|> <|vision_end|>".split()
QUESTION = "What colour is the third car ?"
words = f"<other> user assistant system You are a helpful assistant. page {QUESTION} blue".split()
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<other>"))
splitter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, pad_token="<pad>", eos_token="<|im_end|>")
tokenizer.add_special_tokens({"additional_special_tokens": [PICTURE, *ROLES]})
settings = DataArguments(template="qwen2_vl")
template = get_template_and_fix_tokenizer(tokenizer, settings)
processor = SimpleNamespace(image_processor=Qwen2VLImageProcessorPil(), video_processor=object())


def shown(kind, prompt, pictures):
    """The text of what the model gets, how many of its tokens are a picture's, and the text that it learns."""
    row = {
        "_prompt": [[{"role": "user", "content": prompt}]],
        "_response": [[{"role": "assistant", "content": "blue"}]],
        "_system": [None], "_tools": [None], "_images": [pictures or None], "_videos": [None], "_audios": [None],
    }  # fmt: skip
    made = kind(template, tokenizer, processor, settings).preprocess_dataset(row)
    text, learned = made["input_ids"][0], [token for token in made["labels"][0] if token >= 0]
    return tokenizer.decode(text), text.count(tokenizer.convert_tokens_to_ids(PICTURE)), tokenizer.decode(learned)


page = Image.new("RGB", (728, 728), "white")
rows = {
    "a page of 100 words": ("page " * 100 + QUESTION, []),
    "a page of 3,000 words": ("page " * 3000 + QUESTION, []),
    "two pictures": ("<image>" * 2 + QUESTION, [page] * 2),
    "three pictures": ("<image>" * 3 + QUESTION, [page] * 3),
}
print(f"llamafactory {metadata.version('llamafactory')}, a cutoff_len of {settings.cutoff_len}")
seen = {}
for name, row in rows.items():
    text, tokens, learned = shown(SupervisedDatasetProcessor, *row)
    asked = shown(UnsupervisedDatasetProcessor, *row)[0]
    header = "<|im_start|>assistant" in text.replace(" ", "")
    seen[name] = QUESTION in text, header, QUESTION in asked, tokens, "blue" in learned
    print(f"{name}: question {seen[name][0]}, assistant's turn begun {header}, tokens of pictures {tokens}")
    print(f"    ends with {text.replace(PICTURE, '').replace('page', '').split()[-8:]}, learned {learned!r}")
    print(f"    the question is there when an answer is generated: {seen[name][2]}")
each = 26 * 26
expected = {
    "a page of 100 words": (True, True, True, 0, True),
    "a page of 3,000 words": (False, False, False, 0, True),
    "two pictures": (True, True, True, 2 * each, True),
    "three pictures": (False, False, False, 3 * each, True),
}
if seen != expected:
    print("Changed.")
    sys.exit(1)
PYTHON
