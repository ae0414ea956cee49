#!/usr/bin/env bash
# A chat of typed parts that passes through Dataset.from_list loses its question under Qwen2.5-VL's chat template:
# from_list gives every part the keys of all, with None where there was no such key, and the template takes a part
# with a key "image" for a picture, whatever its type. What remains are two pictures and no text.
# Exits with 0 while that is so. Takes about 600 MB and the package index; Holdfast has no part in it.
set -euo pipefail
DATASETS=5.2.0 TRANSFORMERS=5.23.0 TRL=1.16.0 # of trl only the template, which it has from the checkpoint

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "datasets==$DATASETS" "transformers==$TRANSFORMERS" jinja2
pip install --no-deps "trl==$TRL"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
from pathlib import Path

import datasets
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

template = Path(metadata.distribution("trl").locate_file("trl/chat_templates/qwen2_5_vl.jinja")).read_text()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")))
question = "How tall is the bar?"
parts = [{"type": "image", "image": "chart.png"}, {"type": "text", "text": question}]
messages = [{"role": "user", "content": parts}]


def rendered(messages):
    return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)


versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("datasets", "transformers", "trl"))
print(f"{versions}; the question is {question!r}, beside one picture")
stored = datasets.Dataset.from_list([{"messages": messages}])[0]["messages"]
print(f"Through the data set: {stored[0]['content']}")
seen = []
for name, chat in (("as written", messages), ("through the data set", stored)):
    text = rendered(chat)
    seen.append((text.count("<|image_pad|>"), question in text))
    print(f"{name}: {seen[-1][0]} pictures, the question {'is' if seen[-1][1] else 'is not'} there")
if seen != [(1, True), (2, False)]:
    print("Changed.")
    sys.exit(1)
PYTHON
