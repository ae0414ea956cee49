#!/usr/bin/env bash
# Settings of a Qwen-VL image processor stand for those of videos where they lie in preprocessor_config.json,
# but not where the same settings lie in the image_processor section of processor_config.json, the layout
# that transformers 5 writes. Such a folder, which has all that images need, cannot be loaded by AutoProcessor.
# Exits with 0 while that is so. Takes about 7 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 TORCH=2.14.1 TORCHVISION=0.29.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "torchvision==$TORCHVISION" "transformers==$TRANSFORMERS" pillow

cd "$folder" # nothing of a checkout is imported
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$python" - <<'PYTHON'
import importlib.metadata as metadata
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import AutoProcessor, PreTrainedTokenizerFast, Qwen2VLImageProcessor

words = ["<|image_pad|>", "<|video_pad|>", "hello"]
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="hello"))
)
settings = Qwen2VLImageProcessor().to_dict()
name = {"processor_class": "Qwen2_5_VLProcessor"}
for folder, file, content in (
    ("older", "preprocessor_config.json", settings | name),
    ("newer", "processor_config.json", {"image_processor": settings} | name),
):
    tokenizer.save_pretrained(folder)
    (Path(folder) / file).write_text(json.dumps(content))

print(f"transformers {metadata.version('transformers')}, torchvision {metadata.version('torchvision')}")
processor = AutoProcessor.from_pretrained("older")
print(f"In preprocessor_config.json: loads, with a {type(processor.video_processor).__name__}.")
try:
    AutoProcessor.from_pretrained("newer")
except OSError as error:
    print(f"In processor_config.json: OSError: {error}")
    sys.exit("Can't load video processor" not in str(error))
print("Changed: the same settings in processor_config.json load, too.")
sys.exit(1)
PYTHON
