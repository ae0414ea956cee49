"""Processes that are copied from one which has everything imported.

What a job needs takes seconds to import, and a third of a small job's memory: a copy has it at once, shared.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext

PRELOAD = ["holdfast.experiment.jobs", "holdfast.learning.loop", "holdfast.policy.policy"]
_LONGEST = 70  # characters of the folder of temporary files with which a socket's path in it stays below 108


class ForkedProcess(ForkServerProcess):
    """Has the environment of the process that starts it, not of the one that is copied."""

    def start(self) -> None:
        self._environment = dict(os.environ)
        super().start()

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the one that is copied may not hear it
        super().run()


class Forked(ForkServerContext):
    Process = ForkedProcess


FORKED = Forked()
FORKED.set_forkserver_preload(PRELOAD)


def context_for(device: str) -> ForkServerContext | SpawnContext:
    """What starts processes that compute on a device: copies for a CPU.

    Drivers of graphics cards do not outlive being copied, nor do some libraries of macOS: there they start
    from nothing.
    """
    copied = device == "cpu" and sys.platform == "linux" and len(tempfile.gettempdir()) <= _LONGEST
    return FORKED if copied else SpawnContext()


@contextmanager
def without_script() -> Iterator[None]:
    """Have processes that are started in the block not run the user's script, of which they need nothing.

    Python imports it in each, and one that does not ask for its name would run its experiment there again.
    """
    script = vars(sys.modules["__main__"])
    known = dict(script)
    script |= {"__file__": None, "__spec__": None}
    try:
        yield
    finally:
        for name in ("__file__", "__spec__"):  # an interactive session has no file
            del script[name]
        script |= {name: known[name] for name in ("__file__", "__spec__") if name in known}


@contextmanager
def unheard() -> Iterator[None]:
    """Processes that are started in the block hear no Ctrl-C, even while they import: this one stops them."""
    resource_tracker.ensure_running()  # which else is started on the way, and hears it again then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare_copies(device: str) -> None:
    """Begin to import what processes of a device will need, beside this one."""
    if context_for(device) is FORKED:
        with unheard():
            forkserver.ensure_running()
