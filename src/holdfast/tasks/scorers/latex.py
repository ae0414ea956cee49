"""Equality of expressions by computer algebra and by other graders, where nothing can hang the run.

LaTeX is compared by math-verify, plain expressions by the SymPy that it brings, answers as the study graded
them by mathruler, where that is installed. A formula may keep a parser busy for ever, eat all memory or
crash it. So it is parsed in worker processes: each answer has a time limit, a worker that overruns it or
dies is killed and replaced, and the answer counts as not equal. A canary, two pairs whose verdict is known,
tells a bad answer from a broken installation whenever a worker starts.

Pools on multiprocessing (pebble 5.2 was tried) do not serve: they cannot start in a daemonic process, as
those that do jobs are, and their workers import the main script again, with the torch that it brings.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.metadata
import json
import os
import queue
import selectors
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Literal

from holdfast.errors import HoldfastError, InputError

LIMIT = 5.0  # seconds for one answer
START_LIMIT = 120.0  # seconds to import the parser and pass the canary, on a busy machine
LONGEST = 400  # characters; longer "formulas" are not answers
WORKERS = 2
Kind = Literal["latex", "expressions", "mathruler"]
CANARY = ((r"\frac{2 x}{4}", r"\frac{x}{2}", True), ("x + 1", "x + 2", False))
CANARY_OF_MATHRULER = (("x + 2 x", "3 x", True), ("x + 1", "x + 2", False))


@lru_cache(maxsize=65_536)
def equal(answer: str, reference: str, kind: Kind = "latex") -> bool:
    """Whether two expressions are equal; False for what cannot be parsed in time.

    Args:
        kind: of LaTeX, without `$`; of expressions of digits, letters and operators, which must have the same
            value for all their letters; or by mathruler's verdict.

    Raises:
        InputError: math-verify, which brings SymPy, is not installed.
        HoldfastError: it is, but it or mathruler does not work.
    """
    if kind == "latex" and len(answer) > LONGEST:
        return False
    return _pool().ask(answer, reference, kind)


@lru_cache(maxsize=1)
def mathruler_version() -> str | None:
    """The version of mathruler, None where it or the parser that it needs is not installed."""
    if find_spec("mathruler") is None or find_spec("pylatexenc") is None:
        return None
    return importlib.metadata.version("mathruler")


def require() -> None:
    """Find out before any work whether formulas can be compared.

    Raises:
        InputError: math-verify is not installed.
    """
    if find_spec("math_verify") is None:
        raise InputError(
            "Answers of this task may be formulas, and comparing them needs math-verify; "
            "install it: pip install math-verify"
        )


class Worker:
    """A process that compares expressions; started when it is first asked.

    Args:
        command: what to run, for tests; it speaks JSON lines as `latex_worker` does.
    """

    def __init__(self, command: Sequence[str] | None = None, limit: float = LIMIT) -> None:
        self.command = [*(command or (sys.executable, "-m", "holdfast.tasks.scorers.latex_worker"))]
        self.limit = limit
        self.process: subprocess.Popen[bytes] | None = None
        self.knows_mathruler = False  # whether this process has passed its canary

    def ask(self, answer: str, reference: str, kind: Kind = "latex") -> bool:
        """The verdict; False when the worker had to be killed or died of it."""
        if self.process is None:
            self.start()
        if kind == "mathruler" and not self.knows_mathruler:
            self._try(CANARY_OF_MATHRULER, kind)
            self.knows_mathruler = True
        verdict = self._exchange(answer, reference, self.limit, kind)
        if verdict is None:
            self.stop()
        return verdict is True

    def start(self) -> None:
        """Start the process and put the canary to it."""
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        self._try(CANARY, "latex")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream:
                    with contextlib.suppress(OSError):  # what was not sent has nobody to go to
                        stream.close()
            self.process, self.knows_mathruler = None, False

    def _try(self, canary: Sequence[tuple[str, str, bool]], kind: Kind) -> None:
        for answer, reference, expected in canary:
            if self._exchange(answer, reference, START_LIMIT, kind) is not expected:
                self.stop()
                package = "mathruler pylatexenc" if kind == "mathruler" else "math-verify"
                raise HoldfastError(
                    "The checker of LaTeX answers does not work: it fails on a formula whose verdict is "
                    f"known. Reinstall it: pip install --force-reinstall {package}"
                )

    def _exchange(self, answer: str, reference: str, limit: float, kind: Kind) -> bool | None:
        """One request; None when no whole reply came in time."""
        assert self.process is not None and self.process.stdin and self.process.stdout
        request = json.dumps({"kind": kind, "answer": answer, "reference": reference, "limit": limit})
        try:
            self.process.stdin.write(request.encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(limit):
                return None
        reply = self.process.stdout.readline()
        return {b"1\n": True, b"0\n": False}.get(reply)


class Pool:
    """A few workers, each used by one thread at a time."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers
        self.free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in reversed(workers):  # a single thread should keep to one
            self.free.put(worker)

    def ask(self, answer: str, reference: str, kind: Kind) -> bool:
        worker = self.free.get()
        try:
            return worker.ask(answer, reference, kind)
        finally:
            self.free.put(worker)

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()


_pools: dict[int, Pool] = {}
_lock = threading.Lock()


def _pool() -> Pool:
    """This process's pool; a forked child must not share its parent's pipes."""
    with _lock:
        if os.getpid() not in _pools:
            require()
            _pools[os.getpid()] = pool = Pool([Worker() for _ in range(WORKERS)])
            atexit.register(pool.close)
        return _pools[os.getpid()]
