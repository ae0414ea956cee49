#!/usr/bin/env bash
# In lm-eval's maj@64 and maj@8 (gsm8k_cot_self_consistency) an answer that could not be read is a vote: where more
# chains say "The answer is $18." than "The answer is 18." the majority is "[invalid]", which is wrong, though all
# agree. A model that is right in 9 of 10 of the answers that are read, and is not read in half of its chains, has a
# maj@64 of 34 %, less than a single chain has (45 %), for 100 %. Votes are counted as they are written, too: 1,000
# and 1000, which are one for exact_match, stand against each other. It is called majority vote, and nothing of this
# is said.
# Exits with 0 while that is so. Takes about 60 MB and the package index; Holdfast has no part in it.
set -euo pipefail
LM_EVAL=0.4.13 PYYAML=6.0.3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install "pyyaml==$PYYAML"
pip install --no-deps "lm_eval==$LM_EVAL" # its filters need nothing else

cd "$folder" # nothing of a checkout is imported
"$python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import random
import sys
from collections import Counter

import yaml
from lm_eval.filters import build_filter_ensemble

package = metadata.distribution("lm_eval")
config = package.locate_file("lm_eval/tasks/gsm8k/gsm8k-cot-self-consistency.yaml").read_text()
(filters,) = (each["filter"] for each in yaml.safe_load(config)["filter_list"] if each["name"] == "maj@64")
STEPS = [(step.pop("function"), step) for step in filters]
CHAINS, QUESTIONS = 64, 500


class Request:
    """What the filters look at: a question's chains, and where they leave their result."""

    def __init__(self, chains):
        self.resps, self.doc, self.filtered_resps = chains, {}, {}


def votes(questions):
    """The answer that stands for each question's chains."""
    requests = [Request(chains) for chains in questions]
    build_filter_ensemble("maj@64", STEPS).apply(requests)
    return [request.filtered_resps["maj@64"] for request in requests]


def chains(**counts):
    return [f"The answer is {answer}." for answer, count in counts.items() for _ in range(count)]


CASES = (  # how many chains of 64 write what, and the vote
    ({"18": 34, "$18": 30}, "18"),
    ({"18": 30, "$18": 34}, "[invalid]"),
    ({"1,000": 20, "1000": 20, "100": 24}, "100"),
)
print(f"lm-eval {package.version}, maj@64 of gsm8k_cot_self_consistency")
seen = votes([chains(**counts) for counts, _ in CASES])
for (counts, _), vote in zip(CASES, seen):
    print(", ".join(f"{count} x {answer}" for answer, count in counts.items()) + f": {vote}")

draw = random.Random(0)
RIGHT, WRONG, UNREAD = (f"The answer is {answer}." for answer in ("18", "20", "$18"))
asked = [draw.choices((RIGHT, WRONG, UNREAD), (45, 5, 50), k=CHAINS) for _ in range(QUESTIONS)]
single = sum(question.count(RIGHT) for question in asked) / CHAINS / QUESTIONS
read = [Counter(chain for chain in question if chain != UNREAD).most_common(1)[0][0] for question in asked]
accuracy = votes(asked).count("18") / QUESTIONS
of_read = read.count(RIGHT) / QUESTIONS
print(f"right: a single chain {single:.1%}; maj@64 {accuracy:.1%}; the majority of what is read {of_read:.1%}")
if not (seen == [vote for _, vote in CASES] and 0.4 < single < 0.5 and accuracy < 0.4 and of_read == 1):
    print("Changed.")
    sys.exit(1)
PYTHON
