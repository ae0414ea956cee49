"""Functions of the user's own, called with a limit of time, and their results looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.plugins.faults import blamed
from holdfast.plugins.loading import load_function, seconds_of
from holdfast.plugins.values import plain_number, shown
from holdfast.timelimit import TooSlow, time_limit


def call(reference: str, *arguments: Any, about: str) -> Any:
    """What a function of the user's returns.

    Args:
        about: what it was asked about, for messages.

    Raises:
        HoldfastError: it raised an error, or took longer than its `seconds` (10 where it does not say).
    """
    function = load_function(reference)
    seconds = seconds_of(reference, function)
    try:
        with time_limit(seconds), blamed(reference, about), torch_kept():
            return function(*arguments)
    except TooSlow:
        raise HoldfastError(
            f"{reference} took more than {seconds:g} s over {about}. Make it faster, or give the function an "
            "attribute `seconds`."
        ) from None


def call_for_number(reference: str, *arguments: Any, about: str, least: float, most: float) -> float:
    """As `call`, for a function that returns a number from `least` to `most`.

    Raises:
        HoldfastError: as `call`, or it returned something else.
    """
    number = plain_number(call(reference, *arguments, about=about))
    if not isinstance(number, int | float) or not least <= number <= most:
        raise HoldfastError(
            f"{reference} returned {shown(number)} for {about}; it must return a number from {least:g} to "
            f"{most:g}."
        )
    return float(number)


@contextmanager
def torch_kept() -> Iterator[None]:
    """What the block does to torch's settings does not reach the job that it is a part of."""
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "set_num_threads"):  # not imported, or not yet whole
        yield
        return
    before = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    try:
        yield
    finally:
        if before != (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()):
            torch.set_grad_enabled(before[0])
            torch.set_default_dtype(before[1])
            torch.set_num_threads(before[2])
