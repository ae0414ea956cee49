#!/usr/bin/env bash
# A tokenizer of one's own (lower case, BPE of bytes) is saved beside the configuration of a model. AutoTokenizer
# gives it back for a Llama, a Qwen3 and a Qwen2.5-VL. For a Qwen2 and a Qwen3.5 it makes a tokenizer of the model's
# class out of the vocabulary: the normalizer in tokenizer.json is not read, so that "HOW" is three letters. Saved once
# more, the file has lost it. tokenizer_config.json asks for another class; PreTrainedTokenizerFast reads it right.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
TRANSFORMERS=5.23.0 TOKENIZERS=0.23.3 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "torch==$TORCH" "transformers==$TRANSFORMERS" "tokenizers==$TOKENIZERS"

cd "$folder" # nothing of a checkout is imported
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$python" -W ignore - <<'PYTHON'
import json
import sys
from importlib.metadata import version

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2Config
from transformers import Qwen3_5Config, Qwen3Config

made = Tokenizer(models.BPE())
made.normalizer = normalizers.Lowercase()
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.decoder = decoders.ByteLevel()
made.train_from_iterator(
    ["how many red shapes are there"] * 3,
    trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ),
)
fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", pad_token="<|end|>")

print(f"transformers {version('transformers')}, tokenizers {version('tokenizers')}")
print("as made:", fast.tokenize("HOW"))
seen = {}
for config in (LlamaConfig, Qwen3Config, Qwen2_5_VLConfig, Qwen2Config, Qwen3_5Config):
    name = config.__name__
    fast.save_pretrained(name)
    config().save_pretrained(name)
    asked = json.load(open(f"{name}/tokenizer_config.json"))["tokenizer_class"]
    loaded = AutoTokenizer.from_pretrained(name)
    loaded.save_pretrained(f"{name}-again")
    kept = json.load(open(f"{name}-again/tokenizer.json"))["normalizer"]
    seen[name] = loaded.tokenize("HOW")
    print(f"{name}: {asked} asked for, {type(loaded).__name__} made: {seen[name]}; normalizer saved: {kept}")
    assert PreTrainedTokenizerFast.from_pretrained(name).tokenize("HOW") == ["how"]
    if (seen[name] == ["how"]) != ((kept or {}).get("type") == "Lowercase"):
        sys.exit("Changed.")
right = [name for name, tokens in seen.items() if tokens == ["how"]]
if right != ["LlamaConfig", "Qwen3Config", "Qwen2_5_VLConfig"]:
    sys.exit("Changed.")
PYTHON
