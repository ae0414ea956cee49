"""Trackio: `trackio show --project NAME`; on this disk unless TRACKIO_SPACE_ID names a space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import trackio

from holdfast.tracking import Axis, Tracked, Tracker, cells


class Trackio(Tracker):
    """A run a line in the project of the experiment's name."""

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self._runs: dict[str, Any] = {}

    def log(self, line: str, axis: Axis, step: int, numbers: Mapping[str, float]) -> None:
        self._line(line).log(dict(numbers), step=step)

    def table(self, table: Mapping[str, Any]) -> None:
        headings, rows = cells(table)
        frame = pd.DataFrame(rows, columns=headings)
        self._line("report").log({table["name"]: trackio.Table(dataframe=frame)})

    def report(self, folder: Path) -> None:
        artifact = trackio.Artifact(f"{self.run.name}-report", type="report")
        artifact.add_dir(str(folder))
        self._line("report").log_artifact(artifact)

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()

    def _line(self, line: str) -> Any:
        if line not in self._runs:
            self._runs[line] = trackio.init(
                self.run.name,
                name=f"{line} {self.run.key}",
                group=self.run.key,
                config=dict(self.run.settings),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return self._runs[line]
