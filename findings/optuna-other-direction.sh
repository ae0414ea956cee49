#!/usr/bin/env bash
# Optuna 5.0.0 leaves out the direction of create_study where the study is there already (load_if_exists=True): a search
# that was begun without one, which is to minimise, and is taken up again with direction="maximize" goes on to look for
# the lowest accuracy, and best_params are the worst. It says that it uses the existing study, and not that it has
# another direction. The same holds for directions=["maximize", "minimize"] and a study of one aim.
# Exits with 0 while that is so. Takes about 150 MB and the package index; Holdfast has no part in it.
set -euo pipefail
OPTUNA=5.0.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "optuna==$OPTUNA"

cd "$folder" # nothing of a checkout is imported
"$python" - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import sys
import warnings
from pathlib import Path

import optuna

STORAGE = "sqlite:///search.db"


def accuracy(trial):
    """Best where the share of replayed rows is 0.3."""
    return 1 - (trial.suggest_float("replay", 0, 1) - 0.3) ** 2


def study(**settings):
    sampler = optuna.samplers.TPESampler(seed=0)
    return optuna.create_study(study_name="replay", storage=STORAGE, load_if_exists=True, sampler=sampler, **settings)


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    study().optimize(accuracy, n_trials=5)
    search = study(direction="maximize")
    search.optimize(accuracy, n_trials=30)
    two = study(directions=["maximize", "minimize"])
values = [trial.value for trial in search.trials]
said = [line for line in Path("log.txt").read_text().splitlines() if "Trial" not in line]
print(f"optuna {optuna.__version__}; 5 trials without a direction, then 30 with direction='maximize'")
print(f"direction: {search.direction.name}; accuracies seen: {min(values):.3f} to {max(values):.3f}")
print(f"best_value {search.best_value:.3f} with {search.best_params}")
print(f"with directions=['maximize', 'minimize']: {[direction.name for direction in two.directions]}")
print("said:", *said, *(str(warning.message) for warning in caught), sep="\n    ")
if not (
    search.direction.name == "MINIMIZE"
    and search.best_value == min(values) < max(values)
    and [direction.name for direction in two.directions] == ["MINIMIZE"]
    and not any("direction" in line.lower() for line in said)
):
    print("Changed.")
    sys.exit(1)
PYTHON
