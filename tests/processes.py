"""Processes forked from one that has everything imported, which takes a new one seconds."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

from holdfast.experiment import forked
from holdfast.experiment.forked import Forked, ForkedProcess


class Process(ForkedProcess):
    """The server that forked this process forks its workers, too."""

    def run(self) -> None:
        forked.SERVER = forkserver._forkserver  # what is known in a copy of the server that made it
        forked.SERVER.ensure_running = lambda: None  # type: ignore[method-assign]
        super().run()


class Nested(Forked):
    Process = Process


FORKED = Nested()
forked.SERVER.set_forkserver_preload(["preloaded"])


def start(said: Path, *arguments: object, first: Callable[[], object] | None = None) -> Process:
    """Start `holdfast` with some arguments, after calling `first`; what it says goes to a file."""
    process = FORKED.Process(target=_be_holdfast, args=(said, list(map(str, arguments)), first))
    process.start()
    return process


def _be_holdfast(said: Path, arguments: list[str], first: Callable[[], object] | None) -> None:
    from holdfast import cli
    from holdfast.experiment import local

    with said.open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    # As in a terminal; what a script starts in the background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    local.context_for = lambda device: FORKED
    sys.argv = ["holdfast", *arguments]
    if first is not None:
        first()
    cli.main()
