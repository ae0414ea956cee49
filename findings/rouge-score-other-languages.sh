#!/usr/bin/env bash
# rouge-score, which by its documentation "tokenizes on whitespace", throws every character away that is not a to z or a
# digit. A right answer in Russian, Greek, Hindi or Chinese has a ROUGE of 0; where both answers hold the same number, it
# alone is compared, and any other sentence has 1. French and German words fall into pieces at their accents, and of two
# words that differ in these alone nothing is left to differ. In English -5 is 5. ROUGE of `evaluate` and lm-eval is this
# one; a comparison of languages, or a mean over them, says nothing.
# Exits with 0 while that is so. Takes about 150 MB and the package index; Holdfast has no part in it.
set -euo pipefail
ROUGE_SCORE=0.1.2

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "rouge-score==$ROUGE_SCORE"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

CASES = (  # the reference, the answer, ROUGE-L over words between spaces, and rouge-score's
    ("A red car stands on the left.", "A red car stands on the left.", 1, 1),
    ("Красная машина стоит слева.", "Красная машина стоит слева.", 1, 0),
    ("Ένα κόκκινο αυτοκίνητο.", "Ένα κόκκινο αυτοκίνητο.", 1, 0),
    ("बाईं ओर एक लाल कार है।", "बाईं ओर एक लाल कार है।", 1, 0),
    ("左边 有 一辆 红色 的 汽车", "左边 有 一辆 红色 的 汽车", 1, 0),
    ("На фото 2 красные машины.", "Справа спят 2 кошки.", 0.22, 1),
    ("Il a pêché.", "Il a péché.", 0.67, 1),
    ("The temperature is -5 degrees.", "The temperature is 5 degrees.", 0.8, 1),
)


class Words:
    def tokenize(self, text):
        return text.lower().split()


print(f"rouge-score {metadata.version('rouge-score')}, ROUGE-L of an answer: over words, and as it comes")
print(f"The tokenizer: {DefaultTokenizer.__doc__}")
changed = "whitespace" not in DefaultTokenizer.__doc__
for reference, answer, *known in CASES:
    scorers = RougeScorer(["rougeL"], tokenizer=Words()), RougeScorer(["rougeL"])
    seen = [round(scorer.score(reference, answer)["rougeL"].fmeasure, 2) for scorer in scorers]
    changed |= seen != known
    print(f"{reference} | {answer} | {seen[0]:g}, {seen[1]:g} {DefaultTokenizer().tokenize(reference)}")
if changed:
    print("Changed.")
    sys.exit(1)
PYTHON
