#!/usr/bin/env bash
# The predict_bleu-4 of LLaMA-Factory is one of characters, in every language. An English answer is taken apart into
# its letters, and each answer has a BLEU of its own, smoothed. "The dog is on the left of the cat." has 93 where the
# cat is on the left of the dog, a red light that is called green 80, and a sentence about something else 19; of words
# the same function gives 61, 67 and 5. The right answer has less where it is short: 35 for "7", 84 for "Yes". Nothing
# says so: it is called BLEU-4, beside ROUGE, which is one of words.
# Exits with 0 while that is so. Takes about 1.6 GB and the package index; Holdfast has no part in it.
set -euo pipefail
LLAMAFACTORY=0.9.5 TRANSFORMERS=5.6.0 PEFT=0.18.1 TRL=0.24.0 ACCELERATE=1.11.0 DATASETS=4.0.0 TORCH=2.13.0
NLTK=3.10.4 JIEBA=0.42.1 ROUGE_CHINESE=1.0.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "torch==$TORCH" "transformers==$TRANSFORMERS" "peft==$PEFT" "trl==$TRL" "accelerate==$ACCELERATE" \
    "datasets==$DATASETS" "av<=16.0.0" omegaconf pillow "nltk==$NLTK" "jieba==$JIEBA" "rouge-chinese==$ROUGE_CHINESE"
pip install --no-deps "llamafactory==$LLAMAFACTORY" # the rest of what it asks for is for its pages and for sound

cd "$folder" # nothing of a checkout is imported
touch torchaudio.py # imported, for sound, and not used here
HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 "$python" -W ignore - 2>log.txt <<'PYTHON' \
    || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys

import numpy as np
from llamafactory.train.sft.metric import ComputeSimilarity
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from transformers import EvalPrediction

CASES = (  # the answer, the reference, and their BLEU in LLaMA-Factory and of words
    ("The dog is on the left of the cat.", "The cat is on the left of the dog.", 93, 61),
    ("The traffic light is green.", "The traffic light is red.", 80, 67),
    ("Yes, the man is wearing a hat.", "No, the man is not wearing a hat.", 78, 36),
    ("A bus stands at the corner near two trees.", "The cat is on the left of the dog.", 19, 5),
    ("left", "left", 100, 35),
    ("Yes", "Yes", 84, 35),
    ("7", "7", 35, 35),
)
TEXTS = [text for answer, reference, *_ in CASES for text in (answer, reference)]


class Numbers:
    """A tokenizer whose tokens are the texts."""

    pad_token_id = -1

    def batch_decode(self, rows, skip_special_tokens):
        return [TEXTS[row[0]] for row in rows]


def theirs(number):
    predictions, labels = np.array([[2 * number]]), np.array([[2 * number + 1]])
    return ComputeSimilarity(Numbers())(EvalPrediction(predictions, labels))["bleu-4"]


def of_words(answer, reference):
    """The same function, with the same smoothing."""
    return 100 * sentence_bleu([reference.split()], answer.split(), smoothing_function=SmoothingFunction().method3)


print(f"llamafactory {metadata.version('llamafactory')}: BLEU-4 of an answer in LLaMA-Factory, and of words")
changed = False
for number, (answer, reference, *known) in enumerate(CASES):
    seen = [round(theirs(number)), round(of_words(answer, reference))]
    changed |= seen != known
    print(f"{answer!r} for {reference!r}: {seen[0]}; {seen[1]}")
if changed:
    print("Changed.")
    sys.exit(1)
PYTHON
