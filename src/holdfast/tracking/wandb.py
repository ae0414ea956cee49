"""Weights & Biases, offline unless WANDB_MODE says otherwise: `wandb sync` uploads what lies there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from holdfast.tracking import Axis, Tracked, Tracker, cells


class WeightsAndBiases(Tracker):
    """A run a line in the project `holdfast` (or WANDB_PROJECT), grouped by experiment."""

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        os.environ.setdefault("WANDB_MODE", "offline")
        self._runs: dict[str, Any] = {}

    def log(self, line: str, axis: Axis, step: int, numbers: Mapping[str, float]) -> None:
        self._line(line).log({**numbers, axis: step})

    def table(self, table: Mapping[str, Any]) -> None:
        headings, rows = cells(table)
        self._line("report").log({table["name"]: wandb.Table(columns=headings, data=rows)})

    def report(self, folder: Path) -> None:
        artifact = wandb.Artifact(f"{self.run.name}-report", type="report")
        artifact.add_dir(str(folder))
        self._line("report").log_artifact(artifact)

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()

    def _line(self, line: str) -> Any:
        if line not in self._runs:
            run = self._runs[line] = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "holdfast"),
                group=self.run.name,
                name=f"{self.run.name} {line}",
                id=f"{self.run.key}-{hashlib.sha256(line.encode()).hexdigest()[:8]}",
                dir=self.run.folder,
                config=dict(self.run.settings),
                resume="allow",
                reinit="create_new",  # all lines are open at the same time
                settings=wandb.Settings(silent=True, console="off"),
            )
            run.define_metric("train/*", step_metric="iteration")
            run.define_metric("accuracy/*", step_metric="stage")
        return self._runs[line]
