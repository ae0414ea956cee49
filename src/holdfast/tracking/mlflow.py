"""MLflow: `mlflow ui --backend-store-uri sqlite:///runs/NAME/tracking/mlflow/KEY/mlflow.db`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

from holdfast.files import whole_file
from holdfast.tracking import Axis, ByLine, Tracked, cells


class MLflow(ByLine):
    """A run a line in an experiment of the same name; at MLFLOW_TRACKING_URI, or in a database of its own."""

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # Its own 7 would stop the run for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        place = os.environ.get("MLFLOW_TRACKING_URI")
        database = run.folder / "mlflow.db"
        if not place and not database.exists():
            with whole_file(database) as unfinished:  # made in seconds; half of one could never be used
                MlflowClient(f"sqlite:///{unfinished}").search_experiments(max_results=1)
        self._client = MlflowClient(place or f"sqlite:///{database}")
        found = self._client.get_experiment_by_name(run.name)
        files = None if place else (run.folder / "files").as_uri()
        self._experiment = found.experiment_id if found else self._client.create_experiment(run.name, files)

    def log(self, line: str, axis: Axis, step: int, numbers: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [Metric(_allowed(name), number, now, step) for name, number in numbers.items()]
        self._client.log_batch(self.line(line), metrics)

    def table(self, table: Mapping[str, Any]) -> None:
        headings, rows = cells(table)
        columns = {heading: [row[place] for row in rows] for place, heading in enumerate(headings)}
        self._client.log_table(self.line("report"), columns, f"tables/{table['name']}.json")

    def report(self, folder: Path) -> None:
        self._client.log_artifacts(self.line("report"), str(folder), "report")

    def open(self, line: str) -> str:
        """The id of a line's run, which an earlier process may have made."""
        tag = f"{self.run.key} {line}"
        found = self._client.search_runs([self._experiment], f"tags.holdfast = '{tag}'")
        if not found:
            found = [self._client.create_run(self._experiment, tags={"holdfast": tag}, run_name=line)]
        return str(found[0].info.run_id)

    def end(self, run: str) -> None:
        self._client.set_terminated(run)


def _allowed(name: str) -> str:
    """A metric's name as MLflow takes it: without the brackets around another style, say."""
    return re.sub(r"[^/\w.\- ]", "", name)
