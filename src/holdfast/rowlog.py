"""Rows that come batch by batch, kept as they come: a job that is killed goes on after its last batch.

What a filter or an evaluation finds for a batch depends on the batch alone (its random stream is
named by where it starts), so the rows are all there is to keep.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class RowLog:
    """The rows of a job under way: in memory and, given a file, on disk too.

    Attributes:
        rows: of this process and of those before it, in order.
        seconds: spent on them, in those before it too.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0
        if path is not None and path.exists():
            self._read(path)
        self._last = time.perf_counter()

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the rows of one batch, all of them or (killed meanwhile) none."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"seconds": seconds, "rows": list(rows)}) + "\n")
        self._take(rows, seconds)

    def _take(self, rows: Sequence[dict[str, Any]], seconds: float) -> None:
        self.rows += rows
        self.seconds += seconds

    def _read(self, path: Path) -> None:
        """What is there; a torn or unreadable line and all that follows it are cut off, to be done again."""
        whole = 0
        with path.open("r+b") as file:
            for line in file:
                try:
                    batch = json.loads(line)
                    if not line.endswith(b"\n"):
                        break
                    self._take(batch["rows"], batch["seconds"])
                except (ValueError, KeyError, TypeError):
                    break
                whole += len(line)
            file.truncate(whole)
