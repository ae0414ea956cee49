"""TensorBoard: `tensorboard --logdir runs/NAME/tracking/tensorboard`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from holdfast.tracking import Axis, Tracked, Tracker, cells


class TensorBoard(Tracker):
    """A folder of event files a line, and one for the report."""

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self._writers: dict[str, SummaryWriter] = {}

    def log(self, line: str, axis: Axis, step: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self._writer(line).add_scalar(name, number, step)

    def table(self, table: Mapping[str, Any]) -> None:
        headings, rows = cells(table)
        lines = [headings, ["---"] * len(headings), *rows]
        text = "\n".join(" | ".join("" if cell is None else str(cell) for cell in line) for line in lines)
        self._writer("report").add_text(table["title"], text)

    def report(self, folder: Path) -> None:
        self._writer("report").add_text("report", (folder / "report.md").read_text(encoding="utf-8"))

    def flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, line: str) -> SummaryWriter:
        if line not in self._writers:
            self._writers[line] = SummaryWriter(str(self.run.folder / line))
        return self._writers[line]
