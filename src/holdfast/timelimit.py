"""How long a block may take."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class TooSlow(BaseException):
    """Not an Exception, which the user's own code might catch."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TooSlow` in the block when the time is over; only in the main thread, where jobs run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = False

    def stop(*_: object) -> None:
        nonlocal over
        over = True
        raise TooSlow

    before, begun = signal.signal(signal.SIGALRM, stop), time.monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)  # of a limit around this one; it goes on later
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 0.001))
    if over:  # and the user's code caught it
        raise TooSlow
