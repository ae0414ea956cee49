"""Weights & Biases, offline unless WANDB_MODE says otherwise: `wandb sync` uploads what lies there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from holdfast.tracking import Axis, ByLine, Tracked, cells


class WeightsAndBiases(ByLine):
    """A run a line in the project `holdfast` (or WANDB_PROJECT), grouped by experiment."""

    can_flush = False  # its own process writes in blocks, or every 15 s

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        os.environ.setdefault("WANDB_MODE", "offline")

    def log(self, line: str, axis: Axis, step: int, numbers: Mapping[str, float]) -> None:
        self.line(line).log({**numbers, axis: step})

    def table(self, table: Mapping[str, Any]) -> None:
        headings, rows = cells(table)
        self.line("report").log({table["name"]: wandb.Table(columns=headings, data=rows)})

    def report(self, folder: Path) -> None:
        artifact = wandb.Artifact(f"{self.run.name}-report", type="report")
        artifact.add_dir(str(folder))
        self.line("report").log_artifact(artifact)

    def open(self, line: str) -> Any:
        run = wandb.init(
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
        return run
