#!/usr/bin/env bash
# The metric of an MLflow run is that of the highest step, and not the one logged last: if a second task counts its
# steps from 0 again and has fewer of them, the run's accuracy stays that of the first task, 0.9, where the second one
# ended at 0.4. What MLflow 3.17.2 says of run.data.metrics is that it has the value of the latest timestamp.
# Exits with 0 while that is so. Takes about 250 MB and the package index; Holdfast has no part in it.
set -euo pipefail
MLFLOW=3.17.2 SQLALCHEMY=2.1.9 ALEMBIC=1.20.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet \
    "mlflow-skinny==$MLFLOW" "sqlalchemy==$SQLALCHEMY" "alembic==$ALEMBIC"

cd "$folder" # nothing of a checkout is imported
export MLFLOW_TRACKING_URI="sqlite:///$folder/runs.db" MLFLOW_DISABLE_TELEMETRY=true
"$python" - 2>log.txt <<'PYTHON' || { tail -n 20 log.txt; exit 1; }
import importlib.metadata as metadata
import sys
import time

import mlflow
from mlflow.entities import RunData

TASKS = {"first": [0.60, 0.80, 0.85, 0.90], "second": [0.70, 0.50, 0.40]}  # accuracy on the first task
client = mlflow.MlflowClient()
seen = {}
for name, steps_again in (("each task from step 0", True), ("one count of steps", False)):
    with mlflow.start_run() as run:
        step = 0
        for accuracies in TASKS.values():
            step = 0 if steps_again else step
            for accuracy in accuracies:
                mlflow.log_metric("accuracy", accuracy, step=step)
                step += 1
                time.sleep(0.02)
    logged = sorted(client.get_metric_history(run.info.run_id, "accuracy"), key=lambda metric: metric.timestamp)
    shown = client.get_run(run.info.run_id).data.metrics["accuracy"]
    seen[name] = (shown, logged[-1].value)
    print(f"{name}: {[(metric.step, metric.value) for metric in logged]}")
    print(f"    latest timestamp: {logged[-1].value}; run.data.metrics: {shown}")
print(f"MLflow {metadata.version('mlflow-skinny')} on RunData.metrics: {' '.join(RunData.metrics.__doc__.split())}")
if not (
    seen == {"each task from step 0": (0.9, 0.4), "one count of steps": (0.4, 0.4)}
    and "latest timestamp" in RunData.metrics.__doc__
):
    print("Changed.")
    sys.exit(1)
PYTHON
