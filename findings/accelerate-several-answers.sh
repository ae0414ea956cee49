#!/usr/bin/env bash
# accelerate's gather_for_metrics cuts whatever it is given in the last batch to the number of its rows, on one process
# too, where nothing is there twice. Four sampled answers (or the scores of four options, or of each token) for every
# question are therefore a quarter of themselves in the last batch, and the last questions are not judged at all. No
# word is said; the mean over what came back looks like an accuracy.
# Exits with 0 while that is so. Takes about 1 GB and the package index; Holdfast has no part in it.
set -euo pipefail
ACCELERATE=1.15.0 TORCH=2.13.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "torch==$TORCH" "accelerate==$ACCELERATE"

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

QUESTIONS, BATCH, ANSWERS = 30, 16, 4
accelerator = Accelerator(cpu=True)
version, processes = metadata.version("accelerate"), accelerator.num_processes
print(f"accelerate {version}, processes: {processes}; {QUESTIONS} questions, the first 20 answered right, 10 wrong")
print(f"{ANSWERS} answers to each, in batches of {BATCH} questions")
loader = accelerator.prepare(DataLoader(torch.arange(QUESTIONS), batch_size=BATCH))


def judge(as_texts):
    """Verdicts on all answers as they come back from gather_for_metrics."""
    verdicts = []
    for questions in loader:
        right = (questions < 20).float().repeat_interleave(ANSWERS)
        if as_texts:  # python objects take another way through it
            gathered = accelerator.gather_for_metrics(["right" if verdict else "wrong" for verdict in right])
            verdicts += [float(text == "right") for text in gathered]
        else:
            verdicts += accelerator.gather_for_metrics(right).tolist()
    return len(verdicts), round(sum(verdicts) / len(verdicts), 3)


print(f"As it is: {QUESTIONS * ANSWERS} verdicts, accuracy {20 / QUESTIONS:.3f}")
seen = [judge(as_texts) for as_texts in (False, True)]
for name, (count, accuracy) in zip(("tensors", "texts"), seen, strict=True):
    print(f"gather_for_metrics of {name}: {count} verdicts, accuracy {accuracy}")
if seen != [(78, 1.0)] * 2:
    print("Changed.")
    sys.exit(1)
PYTHON
