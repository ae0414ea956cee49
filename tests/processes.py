"""Processes forked from one that has everything imported, which takes a new one seconds."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path


class Process(ForkServerProcess):
    """Has the environment of the process that starts it, not of the one that is forked."""

    def start(self) -> None:
        self._environment = dict(os.environ)
        super().start()

    def run(self) -> None:
        # The server that forked this process forks its workers, too.
        forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
        os.environ.clear()
        os.environ.update(self._environment)
        super().run()


class Forked(ForkServerContext):
    Process = Process


FORKED = Forked()
FORKED.set_forkserver_preload(
    [
        "holdfast.cli",
        "holdfast.experiment.jobs",
        "holdfast.learning.loop",
        "holdfast.policy.policy",
        "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
        "peft",
    ]
)


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
    local.get_context = lambda way: FORKED
    sys.argv = ["holdfast", *arguments]
    if first is not None:
        first()
    cli.main()
