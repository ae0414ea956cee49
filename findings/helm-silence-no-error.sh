#!/usr/bin/env bash
# An empty answer has a word error rate of 0 in HELM, the best there is: so do its character and match error rates. Of
# a model that reads ten lines with two words of eight wrong in each the rate is 0.25; of one that says nothing to nine
# of them and gets one wholly wrong it is 0.1, and of one that never says a word 0. jiwer, which HELM asks for all other
# answers, gives 1 for an empty one. The scores of HELM's other measures are 0 for it, too, but there 0 is the worst.
# Its documentation says that lower is better, and nothing of empty answers.
# Exits with 0 while that is so. Takes about 700 MB and the package index; Holdfast has no part in it.
set -euo pipefail
HELM=0.5.16 JIWER=4.0.0 NLTK=3.10.4 ROUGE_SCORE=0.1.2 DATASETS=3.6.0 SCIKIT_LEARN=1.9.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "jiwer==$JIWER" "nltk==$NLTK" "rouge-score==$ROUGE_SCORE" "datasets==$DATASETS" \
    "scikit-learn==$SCIKIT_LEARN" "pandas~=2.3" "cattrs~=22.2.0" "colorlog" "dacite" "Mako" "pyhocon" \
    "retrying" "sqlitedict" "zstandard~=0.18.0"
pip install --no-deps "crfm-helm==$HELM" # its measures need nothing else

cd "$folder" # nothing of a checkout is imported
NLTK_DATA="$folder" "$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys
from statistics import mean

import jiwer
from helm.benchmark.metrics.evaluate_reference_metrics import cer_score, mer_score, wer_score

LINE = "the total of all items is {} euros"
LINES = [LINE.format(number) for number in "one two three four five six seven eight nine ten".split()]
SCORES = wer_score, cer_score, mer_score
MODELS = {
    "two words of eight wrong": [line.replace("total", "toll").replace("items", "times") for line in LINES],
    "silent but for one line, all of it wrong": ["who knows what may stand down here", *[""] * 9],
    "silent": [""] * 10,
}

print(f"crfm-helm {metadata.version('crfm-helm')}, error rates of ten lines")
rates = {}
for name, answers in MODELS.items():
    pairs = list(zip(LINES, answers, strict=True))
    rates[name] = {score.__name__: round(mean(score(*pair) for pair in pairs), 2) for score in SCORES}
    rates[name]["wer of jiwer"] = round(mean(jiwer.wer(*pair) for pair in pairs), 2)
    print(f"{name}: {rates[name]}")
words, one, silent = rates.values()
if not (
    words["wer_score"] == words["wer of jiwer"] == 0.25
    and (one["wer_score"], one["wer of jiwer"]) == (0.1, 1.0)
    and list(silent.values()) == [0, 0, 0, 1]
):
    print("Changed.")
    sys.exit(1)
PYTHON
