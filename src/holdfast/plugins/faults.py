"""Errors that come from code of the user's own, told with its file and line."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from holdfast.errors import HoldfastError
from holdfast.plugins.modules import ran, where
from holdfast.plugins.reference import is_reference
from holdfast.timelimit import TooSlow


@contextmanager
def blamed(reference: str | None, about: str) -> Iterator[None]:
    """Raise errors of the block as errors of the user's code, with its line.

    Args:
        reference: of the code; None where it is the package's own, whose errors stay as they are.

    Raises:
        HoldfastError: there was one.
    """
    try:
        yield
    except (HoldfastError, MemoryError, KeyboardInterrupt, TooSlow):  # which say what is wrong
        raise
    except BaseException as error:  # also `sys.exit()`, which would end the run without a word
        if reference is None:
            raise
        path = Path(reference.rpartition(":")[0])
        raise HoldfastError(f"{reference} failed on {about}: {where(error, path)}.") from error


def fault(error: BaseException) -> str | None:
    """What went wrong in a file of the user's, with its line; None for an error from elsewhere."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    path = next((path for frame in frames if (path := Path(frame.filename)) in ran()), None)
    return None if path is None else f"{path} failed: {where(error, path)}."


def fault_in(reference: str, error: BaseException) -> str | None:
    """What went wrong in code of the user's, with its line, in a few words; None for other names."""
    return where(error, Path(reference.rpartition(":")[0])) if is_reference(reference) else None


def telling_exit(tell: Callable[[str], None]) -> Callable[[int], NoReturn]:
    """An `os._exit` that says who ends this process, and never ends it as if all had gone well.

    Processes that are copied from this one end as they will.
    """
    leave, process = os._exit, os.getpid()

    def end(status: int) -> NoReturn:
        if os.getpid() == process:
            frames = reversed(traceback.extract_stack())
            frame = next((one for one in frames if Path(one.filename) in ran()), None)
            place = f"{frame.filename} line {frame.lineno}" if frame else "A library"
            tell(
                f"{place} ended Holdfast by os._exit({status}). What was done stays; raise an error instead."
            )
            status = 1
        leave(status)

    return end
