"""Errors whose message is meant for the person at the terminal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HoldfastError(Exception):
    """Something went wrong while running; the message names the cause and the fix (exit code 1)."""


class InputError(HoldfastError):
    """A setting, file or row the user gave cannot be used; found before any work (exit code 2)."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `word`: what was probably meant, or all there is."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    close.sort(key=lambda one: sorted(one) != sorted(word))  # letters that changed places, first
    return f"; did you mean '{close[0]}'?" if close else f"; there is {', '.join(known)}"
