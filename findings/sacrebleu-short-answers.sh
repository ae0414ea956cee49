#!/usr/bin/env bash
# A thousand answers of three words, all right, have a BLEU of 0 in sacrebleu, as a thousand wrong ones have, and 100
# with one of four words among them: the score is made of one to four words in a row, over all answers together, and
# none of the thousand has four. That one answer alone is a quarter of the score: wrong, it takes the right ones to 84,
# and right, a thousand that are wrong in the last word from 0 to 16. By the answer (sentence_bleu) each right one has
# 100. Nothing is said.
# Exits with 0 while that is so. Takes about 50 MB and the package index; Holdfast has no part in it.
set -euo pipefail
SACREBLEU=2.6.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "sacrebleu==$SACREBLEU"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import logging
import sys

from sacrebleu import corpus_bleu, sentence_bleu

RIGHT, WRONG = "a red car", "a red bus"
LONGER, OTHER = "two dogs in snow", "some cats at home"
CASES = {
    "1,000 right ones of three words": ([RIGHT] * 1000, [RIGHT] * 1000),
    "and a right one of four": ([RIGHT] * 1000 + [LONGER], [RIGHT] * 1000 + [LONGER]),
    "and a wrong one of four": ([RIGHT] * 1000 + [OTHER], [RIGHT] * 1000 + [LONGER]),
    "1,000 that are wrong in the last word": ([WRONG] * 1000, [RIGHT] * 1000),
    "and a right one of four words": ([WRONG] * 1000 + [LONGER], [RIGHT] * 1000 + [LONGER]),
}
said = []
logging.getLogger("sacrebleu").addFilter(lambda record: said.append(record) or False)
print(f"sacrebleu {metadata.version('sacrebleu')}, corpus_bleu")
seen = []
for name, (answers, references) in CASES.items():
    seen.append(round(corpus_bleu(answers, [references]).score))
    print(f"{name}: {seen[-1]}")
print(f"warnings: {len(said)}")
alone = round(sentence_bleu(RIGHT, [RIGHT]).score)
print(f"By the answer, a right one of three words: {alone}")
if not (seen == [0, 100, 84, 0, 16] and alone == 100 and not said):
    print("Changed.")
    sys.exit(1)
PYTHON
