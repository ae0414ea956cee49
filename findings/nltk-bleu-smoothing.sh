#!/usr/bin/env bash
# Smoothed as NLTK's documentation advises for short texts, the BLEU of a right answer is anything: by method1, the one
# that is taken most, 0.18 for an option letter and 0.32 for two words, by method4 1 and 0.22, and by method5 and
# method7 a right sentence has more than 1, of five words 1.12. By method4 "blue car" for "red car" is a third of the
# right answer. A mean of them over right answers tells how long these are, and may be above 1.
# Exits with 0 while that is so. Takes about 50 MB and the package index; Holdfast has no part in it.
set -euo pipefail
NLTK=3.10.4

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "nltk==$NLTK"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
import warnings

from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, sentence_bleu

RIGHT = "B", "red car", "a small red car", "a dog runs in snow"
KNOWN = {
    "method1": (0.178, 0.316, 1.0, 1.0),
    "method2": (0.595, 0.707, 1.0, 1.0),
    "method3": (0.354, 0.595, 1.0, 1.0),
    "method4": (1.0, 0.221, 1.0, 1.0),
    "method5": (0.192, 0.390, 1.011, 1.117),
    "method7": (0.192, 0.436, 1.011, 1.117),
}
print(f"nltk {metadata.version('nltk')}, sentence_bleu of answers that are the reference: {', '.join(RIGHT)}")
changed = False
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name, known in KNOWN.items():
        smoothing = getattr(SmoothingFunction(), name)
        scores = [sentence_bleu([text.split()], text.split(), smoothing_function=smoothing) for text in RIGHT]
        print(f"{name}: {', '.join(f'{score:.3f}' for score in scores)}")
        changed |= any(abs(score - value) > 0.002 for score, value in zip(scores, known, strict=True))
    whole = [RIGHT[-1].split()] * 20
    corpus = corpus_bleu([[words] for words in whole], whole, smoothing_function=SmoothingFunction().method5)
    smoothing = SmoothingFunction().method4
    right, wrong = (
        sentence_bleu([["red", "car"]], [colour, "car"], smoothing_function=smoothing) for colour in ("red", "blue")
    )
print(f"corpus_bleu by method5 of 20 right sentences: {corpus:.3f}")
print(f"by method4 for red car: red car {right:.3f}, blue car {wrong:.3f}; warnings: {len(caught)}")
if changed or corpus < 1.1 or not 0.25 < wrong / right < 0.4 or caught:
    print("Changed.")
    sys.exit(1)
PYTHON
