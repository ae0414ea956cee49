"""A process that makes the steps of one arm, as far as it can: what hinders it is a sentence, not a wait."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.workload import Case

FOLDER = Path(__file__).parents[1]
SOURCE = FOLDER.parent / "src"
CLOSING = 10  # seconds an arm has to end, and one that is stuck to say where


@dataclass(frozen=True)
class Rival:
    """One side of a benchmark.

    Attributes:
        module: what its process runs.
        source: of the Holdfast that it imports.
    """

    name: str
    module: str
    source: Path = SOURCE


def environment(rival: Rival, threads: int) -> dict[str, str]:
    """Of the process of an arm: its Holdfast, so many threads, and no network."""
    paths = [str(FOLDER), str(rival.source), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }


class Failed(Exception):
    """An arm makes no further steps; the message fits a table's cell, `details` may be long."""

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.details = details


class Arm:
    """A process that makes steps on demand, each within `limit` seconds."""

    def __init__(self, rival: Rival, case: Case, steps: int, limit: float) -> None:
        self.rival, self.limit = rival, limit
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", rival.module, case.to_json(), str(steps)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,  # a line that has come is one that `select` sees
            env=environment(rival, case.threads),
            start_new_session=True,  # what it starts is killed with it, and Ctrl-C is for the benchmark alone
        )

    def ready(self) -> dict[str, Any]:
        """What it says once its model is there.

        Raises:
            Failed: it says nothing in time, or has ended.
        """
        return self._read(f"not ready in {self.limit:g} s")

    def step(self, command: str = "step") -> dict[str, Any]:
        """What it says of one more step.

        Raises:
            Failed: as above.
        """
        self._tell(command)
        return self._read(f"no step in {self.limit:g} s")

    def close(self) -> None:
        """End it, kindly if it listens."""
        if self.process.poll() is None:
            self._tell("stop")
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(CLOSING)
        self.kill()

    def kill(self) -> None:
        """End it and what it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _read(self, late: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], self.limit)[0]:
            raise Failed(late, self._where_it_stands())
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def _tell(self, command: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which reading finds out
            self.process.stdin.write(f"{command}\n".encode())

    def _where_it_stands(self) -> str:
        """The Python stack of a stuck arm (`Channel` asks for it), which is killed then."""
        before = len(self._said())
        self.process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + CLOSING
        while len(self._said()) == before and self.process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(0.1)  # for the rest of it
        stack = self._said()[before:]
        self.kill()
        return stack

    def _ended(self) -> Failed:
        code = self.process.wait()
        said = self._said()
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
        if "outofmemory" in said[-4000:].lower().replace(" ", "") or "bad_alloc" in said[-4000:]:
            return Failed("out of memory", said[-3000:])
        if code < 0:
            last = f"killed by {signal.Signals(-code).name}"
        return Failed(f"failed: {last[:120] or f'exit code {code}'}", said[-3000:])

    def _said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()
