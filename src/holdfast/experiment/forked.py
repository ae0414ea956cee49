"""Processes that are copied from one which has everything imported.

What a job needs takes seconds to import, and a third of a small job's memory: a copy has it at once, shared.
The process that is copied is Holdfast's own, beside the one of multiprocessing: it hears no Ctrl-C and has
imports of its own, and neither is meant for what a notebook or a script starts.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, popen_forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext
from multiprocessing.process import BaseProcess

PRELOAD = ["holdfast.experiment.jobs", "holdfast.learning.loop", "holdfast.policy.policy"]
SERVER = forkserver.ForkServer()
_asking = threading.Lock()
_LONGEST = 70  # characters of the folder of temporary files with which a socket's path in it stays below 108


class _Popen(popen_forkserver.Popen):
    def _launch(self, process_obj: BaseProcess) -> None:
        with _asking:
            theirs = forkserver.connect_to_new_process
            forkserver.connect_to_new_process = SERVER.connect_to_new_process
            try:
                super()._launch(process_obj)  # type: ignore[misc]
            finally:
                forkserver.connect_to_new_process = theirs


class ForkedProcess(ForkServerProcess):
    """Has the environment of the process that starts it, not of the one that is copied."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> _Popen:
        return _Popen(process_obj)

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
SERVER.set_forkserver_preload(PRELOAD)


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
            SERVER.ensure_running()
