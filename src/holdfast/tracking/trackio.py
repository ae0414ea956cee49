"""Trackio: `trackio show --project NAME`; on this disk unless TRACKIO_SPACE_ID names a space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import trackio

from holdfast.tracking import Axis, ByLine, cells


class Trackio(ByLine):
    """A run a line in the project of the experiment's name."""

    can_flush = False  # a thread of its own sends it

    def log(self, line: str, axis: Axis, step: int, numbers: Mapping[str, float]) -> None:
        self.line(line).log(dict(numbers), step=step)

    def table(self, table: Mapping[str, Any]) -> None:
        headings, rows = cells(table)
        frame = pd.DataFrame(rows, columns=headings)
        self.line("report").log({table["name"]: trackio.Table(dataframe=frame)})

    def report(self, folder: Path) -> None:
        artifact = trackio.Artifact(f"{self.run.name}-report", type="report")
        artifact.add_dir(str(folder))
        self.line("report").log_artifact(artifact)

    def open(self, line: str) -> Any:
        return trackio.init(
            self.run.name,
            name=f"{line} {self.run.key}",
            group=self.run.key,
            config=dict(self.run.settings),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
