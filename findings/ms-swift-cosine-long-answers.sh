#!/usr/bin/env bash
# The cosine reward of ms-swift makes a right answer worth less the longer it is, from 1 to 0.5 at cosine_max_len, and
# beyond that more again: at twice the length it is 1, as for the shortest one, and at three times 0.5. It goes on along
# the cosine, also for wrong answers. So where cosine_max_len is below max_completion_length, or an answer has several
# turns, whose tokens are added up, the longest answers are paid as the shortest ones are. The documentation says that
# it is "the maximum length for generated text", and nothing of what comes after.
# Exits with 0 while that is so. Takes about 30 MB and the package index; Holdfast has no part in it.
set -euo pipefail
MS_SWIFT=4.6.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps "ms-swift==$MS_SWIFT" # the reward needs no more

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import importlib.metadata as metadata
import runpy
import sys
from types import ModuleType, SimpleNamespace

for name in ("swift", "swift.infer_engine"):  # rewards take the name of a type from there
    sys.modules[name] = ModuleType(name)
sys.modules["swift.infer_engine"].InferRequest = dict

file = metadata.distribution("ms-swift").locate_file("swift/rewards/orm.py")
CosineReward = runpy.run_path(str(file))["CosineReward"]
LONGEST = 1000
SETTINGS = SimpleNamespace(  # the values it has unless others are given
    cosine_min_len_value_wrong=-0.5, cosine_max_len_value_wrong=0.0, cosine_min_len_value_correct=1.0,
    cosine_max_len_value_correct=0.5, cosine_max_len=LONGEST,
)  # fmt: skip
LENGTHS = 0, 500, 1000, 1500, 2000, 3000, 4000


def rewards(right, *, turns=1):
    """For answers of these lengths, in so many turns."""
    reward = CosineReward(SETTINGS, accuracy_orm=lambda completions, solution, **given: [right] * len(completions))
    tokens = [[[0] * (length // turns)] * turns if turns > 1 else [0] * length for length in LENGTHS]
    texts = ["" for _ in LENGTHS]
    return [round(value, 2) for value in reward(texts, texts, response_token_ids=tokens)]


print(f"ms-swift {metadata.version('ms-swift')}, cosine_max_len {LONGEST}; tokens {list(LENGTHS)}")
seen = {"right": rewards(1.0), "wrong": rewards(0.0), "right, in four turns": rewards(1.0, turns=4)}
for name, found in seen.items():
    print(f"{name}: {found}")
right, wrong, turns = seen.values()
if not (right == turns == [1, 0.75, 0.5, 0.75, 1, 0.5, 1] and wrong == [-0.5, -0.25, 0, -0.25, -0.5, 0, -0.5]):
    print("Changed.")
    sys.exit(1)
PYTHON
