#!/usr/bin/env bash
# A call of a fast tokenizer with truncation, a max_length of 8 and padding (transformers 5.23.0) stays in it, and
# save_pretrained writes it to tokenizer.json, as it does with every checkpoint of a training. Who reads that file with
# tokenizers (0.23.3), as engines and counters do, has 8 tokens of every text, long or short: a question is cut and a
# word is padded. AutoTokenizer, from the same folder, gives both whole, so that it is not seen there.
# Exits with 0 while that is so. Takes about 200 MB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 TOKENIZERS=0.23.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "transformers==$TRANSFORMERS" "tokenizers==$TOKENIZERS"

cd "$folder" # nothing of a checkout is imported
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

QUESTION, ANSWER = "how many of the cars on the left side of the street are red or blue", "two"
words = ["<pad>", "<end>", *sorted({*QUESTION.split(), ANSWER})]
splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
splitter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
PreTrainedTokenizerFast(tokenizer_object=splitter, pad_token="<pad>", eos_token="<end>").save_pretrained("first")

tokenizer = AutoTokenizer.from_pretrained("first")
tokenizer(ANSWER, truncation=True, max_length=8, padding="max_length")  # as the answers' labels are made
tokenizer.save_pretrained("second")

print(f"transformers {metadata.version('transformers')}, tokenizers {metadata.version('tokenizers')}")
seen = []
for folder in ("first", "second"):
    whole, engine = AutoTokenizer.from_pretrained(folder), Tokenizer.from_file(f"{folder}/tokenizer.json")
    seen.append([(len(whole(text)["input_ids"]), len(engine.encode(text).ids)) for text in (QUESTION, ANSWER)])
    for text, (by_transformers, by_tokenizers) in zip((QUESTION, ANSWER), seen[-1], strict=True):
        print(f"{folder}, {text!r}: {by_transformers} tokens by transformers, {by_tokenizers} by tokenizers")
print(f"tokenizers' text of the second: {engine.decode(engine.encode(QUESTION).ids)!r}")
if seen != [[(16, 16), (1, 1)], [(16, 8), (1, 8)]]:
    print("Changed.")
    sys.exit(1)
PYTHON
