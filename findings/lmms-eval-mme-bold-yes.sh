#!/usr/bin/env bash
# MME in lmms-eval looks for "yes" and then for "no" in the first four characters of a reply. "**No**" is no; of
# "**Yes**" the fourth character is an e, and it is neither. A model that answers every question rightly, in bold, is
# wrong on each yes: half of the replies and no pair is right, a score of 50 for 200 in each category, which is what a
# model has that always says yes. "Answer: Yes" is neither as well, and "Note: yes" is no.
# Nothing is said of it.
# Exits with 0 while that is so. Takes about 10 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LMMS_EVAL=0.7.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "lmms-eval==$LMMS_EVAL" "loguru==0.7.3"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import logging
import runpy
import sys

from loguru import logger

logger.remove()
logging.disable(logging.WARNING)
mme = runpy.run_path(str(metadata.distribution("lmms-eval").locate_file("lmms_eval/tasks/mme/utils.py")))
REPLIES = {
    "always right": ("Yes", "No"),
    "always right, in bold": ("**Yes**", "**No**"),
    "always right, in italics": ("*Yes*", "*No*"),
    "always right, announced": ("Answer: Yes", "Answer: No"),
    "always right, after a note": ("Note: yes", "Note: no"),
    "always yes": ("Yes", "Yes"),
}


def scored(yes, no):
    """The score of one category, of ten pictures with a question to be answered by yes and one by no."""
    rows = []
    for picture in range(10):
        for answer, reply in (("Yes", yes), ("No", no)):
            row = {"answer": answer, "category": "existence", "question_id": f"picture {picture}"}
            rows.append(mme["mme_process_results"](row, [reply])["mme_perception_score"])
    return mme["mme_aggregate_results"](rows)


print(f"lmms-eval {metadata.version('lmms-eval')}, MME: what is read, and the score of a category (200 at most)")
seen = {}
for name, replies in REPLIES.items():
    seen[name] = [mme["parse_pred_ans"](reply) for reply in replies], scored(*replies)
    print(f"{name}: {' and '.join(replies)} are {' and '.join(seen[name][0])}; {seen[name][1]:g}")
known = {
    "always right": (["yes", "no"], 200),
    "always right, in bold": (["other", "no"], 50),
    "always right, in italics": (["yes", "no"], 200),
    "always right, announced": (["other", "other"], 0),
    "always right, after a note": (["no", "no"], 50),
    "always yes": (["yes", "yes"], 50),
}
if seen != known:
    print("Changed.")
    sys.exit(1)
PYTHON
