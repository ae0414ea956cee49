"""Values that code of the user's own gave."""

from __future__ import annotations

from typing import Any

from holdfast.errors import shortened


def plain_number(value: Any) -> Any:
    """A number of numpy or torch as one of Python's; anything else as it is."""
    try:
        return value.item() if value.ndim == 0 else value
    except Exception:  # no such number
        return value


def shown(value: Any) -> str:
    """A value that the user's code gave, for a message."""
    try:
        return shortened(repr(value), 200)
    except Exception:  # of its own `__repr__`
        return f"an object of {type(value).__name__}"
