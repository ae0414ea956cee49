"""TensorBoard: `tensorboard --logdir runs/NAME/tracking/tensorboard`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from holdfast.tracking import Axis, ByLine, cells


class TensorBoard(ByLine):
    """A folder of event files a line, and one for the report."""

    def open(self, line: str) -> SummaryWriter:
        return SummaryWriter(str(self.run.folder / line))

    def end(self, run: SummaryWriter) -> None:
        run.close()

    def log(self, line: str, axis: Axis, step: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self.line(line).add_scalar(name, number, step)

    def table(self, table: Mapping[str, Any]) -> None:
        headings, rows = cells(table)
        lines = [headings, ["---"] * len(headings), *rows]
        text = "\n".join(" | ".join("" if cell is None else str(cell) for cell in line) for line in lines)
        self.line("report").add_text(table["title"], text)

    def report(self, folder: Path) -> None:
        self.line("report").add_text("report", (folder / "report.md").read_text(encoding="utf-8"))

    def flush(self) -> None:
        for writer in self._runs.values():
            writer.flush()
