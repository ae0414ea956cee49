"""A stage's learning curve on disk, as far as a checkpoint vouches for it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.files import opened, read_bytes, write_bytes


class Curve:
    """The rows of `metrics.jsonl`, one an iteration.

    Args:
        writes: whether this process writes them; else it only counts on them.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self._bytes, self._digest = 0, hashlib.sha256()

    def begin(self, rows: bytes = b"") -> None:
        """Go on after these rows, and forget whatever else is there."""
        if self.writes:
            write_bytes(self.path, rows)
        self._bytes, self._digest = len(rows), hashlib.sha256(rows)

    def add(self, row: dict[str, Any]) -> None:
        if not self.writes:
            return
        line = (json.dumps(row) + "\n").encode()
        with opened(self.path, "ab") as file:
            file.write(line)
        self._bytes += len(line)
        self._digest.update(line)

    def mark(self) -> dict[str, Any]:
        """What tells the rows up to here from others; they are on disk when this returns."""
        with opened(self.path) as file:
            os.fsync(file.fileno())
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def before(self, mark: dict[str, Any]) -> bytes:
        """The rows up to a mark; those after it belong to iterations that are done again.

        Raises:
            ValueError: they are not what was written.
            OSError: they cannot be read.
        """
        rows = read_bytes(self.path)[: mark["bytes"]]
        if hashlib.sha256(rows).hexdigest() != mark["sha256"]:
            raise ValueError(f"{self.path.name} is not what was written")
        return rows


def nothing_right(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """A warning about a stage of RFT in which no completion was ever right; None for any other."""
    graded = [row for row in rows if "reward" in row]
    if not graded or any(row["accuracy"] for row in graded):
        return None
    learned = "nothing"
    if any(row["reward"] for row in graded):
        own = any(key.startswith("reward.") for row in graded for key in row)  # rewards of the user's
        learned = "at most what the other parts of its reward ask" if own else "form alone"
    return (
        f"no completion was right in any of {len(graded)} iterations, so it learned {learned}. Begin with "
        "SFT, take easier examples, or see whether the scorer and max_tokens fit the answers."
    )
