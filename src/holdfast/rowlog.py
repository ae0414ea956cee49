"""Rows that come batch by batch, kept as they come: a job that is killed goes on after its last batch.

What a filter or an evaluation finds for a batch depends on the batch alone (its random stream is
named by where it starts), so the rows are all there is to keep. Each line ends in a hash of itself and of all
before it, back to the name of the job's folder: a line that is missing, repeated, changed or of another job
is found, and with it the end of what can be trusted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from holdfast.files import opened, read_bytes, write_bytes

_CHAIN = b', "chain": '
log = logging.getLogger(__name__)


class RowLog:
    """The rows of a job under way: in memory and, given a file, on disk too.

    Args:
        path: of the file.
        on_damage: is told where a file is not what was written, before its good part is written anew.
            The end of a line that a killed process left unfinished is no damage.

    Attributes:
        rows: of this process and of those before it, in order.
        seconds: spent on them, in those before it too.
        by: what made the last of them, where that was told.
    """

    def __init__(self, path: Path | None = None, on_damage: Callable[[str], object] = log.warning) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.by: dict[str, Any] | None = None
        if path is not None:
            self._chain = _link("", path.parent.name.encode())
            if path.exists():
                self._read(path, on_damage)
        self._last = time.perf_counter()

    def add(self, rows: Sequence[dict[str, Any]], by: dict[str, Any] | None = None) -> None:
        """Keep the rows of one batch, all of them or (killed meanwhile) none.

        Args:
            by: what made them.
        """
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            told = {} if by is None else {"by": by}
            text = json.dumps({"seconds": seconds, **told, "rows": list(rows)}).encode().removesuffix(b"}")
            self._chain = _link(self._chain, text)
            with opened(self.path, "ab") as file:
                file.write(text + _CHAIN + f'"{self._chain}"}}\n'.encode())
        self.rows += rows
        self.seconds += seconds
        self.by = by

    def _read(self, path: Path, on_damage: Callable[[str], object]) -> None:
        """What is there; a line that is not what was written and all that follows are to be done again."""
        content = read_bytes(path) if path.is_file() else b"\n"
        whole = b""
        for number, line in enumerate(content.split(b"\n"), start=1):
            if len(whole) + len(line) == len(content):  # what stands behind the last line's end: a torn line
                break
            text, _, said = line.rpartition(_CHAIN)
            chain = _link(self._chain, text)
            if said != f'"{chain}"}}'.encode():
                on_damage(f"line {number} of {path} is not what was written")
                break
            batch = json.loads(text + b"}")
            self.rows += batch["rows"]
            self.seconds += batch["seconds"]
            self.by = batch.get("by")
            self._chain = chain
            whole += line + b"\n"
        if whole != content:
            write_bytes(path, whole)


def _link(before: str, text: bytes) -> str:
    return hashlib.sha256(before.encode() + text).hexdigest()
