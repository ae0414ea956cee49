"""Errors whose message is meant for the person at the terminal."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class HoldfastError(Exception):
    """Something went wrong while running; the message names the cause and the fix (exit code 1)."""


class NotRegular(OSError):
    """A pipe, a socket or a device stands where a file belongs; reading it may never end."""

    def __init__(self, path: object) -> None:
        super().__init__(errno.EINVAL, "it is a pipe, a socket or a device, not a file", str(path))

    def __str__(self) -> str:
        return f"{self.filename} is a pipe, a socket or a device, not a file"


class InputError(HoldfastError):
    """A setting, file or row the user gave cannot be used; found before any work (exit code 2)."""


def retold(error: HoldfastError, text: str) -> HoldfastError:
    """An error with another text, for the same exit code; its own class may want more than a text."""
    return InputError(text) if isinstance(error, InputError) else HoldfastError(text)


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `word`: what was probably meant, or all there is."""
    known = list(known)
    return meant(word, known) or f"; there is {', '.join(known) or 'nothing'}"


def meant(word: str, known: Iterable[str]) -> str:
    """The same, where the message names all there is already."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    close.sort(key=lambda one: sorted(one) != sorted(word))  # letters that changed places, first
    return f"; did you mean '{close[0]}'?" if close else ""


def none_of(given: object, known: Iterable[str], own: str = "") -> str:
    """What is wrong with a value that is none of the names it may be.

    Args:
        own: how code of the user's is written, where it may be that.
    """
    names = list(known)
    options = ", ".join([*names, f"or {own}"] if own else names)
    return f"must be one of {options}, not {given!r}{meant(given, names) if isinstance(given, str) else ''}"


def reason(error: BaseException) -> str:
    """What an error of a library says, as the end of a sentence: one line, without its class."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it wants more memory than there is"
    if isinstance(error, UnicodeError):
        return "it holds what is not UTF-8 text"
    if isinstance(error, NotRegular):
        return str(error.strerror)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    text = shortened(re.sub(r"\b[A-Z]\w+Error: ", "", said(error)), 300).rstrip(".: ")
    if "integer string conversion" in text:
        return "a whole number in it has thousands of digits"
    if "can't allocate memory" in text:
        return "it wants more memory than there is"
    if isinstance(error, KeyError):
        return f"{text} is missing, or not known"
    if isinstance(error, TypeError | AttributeError | ArithmeticError | IndexError):
        return f"a value in it is of the wrong kind or size ({text})"
    return text or f"it raises {type(error).__name__}"


def said(error: BaseException) -> str:
    """What an error says, in one line."""
    try:
        return " ".join(str(error).split())
    except Exception:  # of its own `__str__`
        return ""


def of_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes from, is that a disk is full or cannot be written.

    Libraries written in Rust, such as safetensors, have errors of their own that name the system's.
    """
    while error is not None:
        named = re.findall(r"\(os error (\d+)\)", str(error))
        if _DISK & {getattr(error, "errno", None), *map(int, named)}:
            return True
        error = error.__cause__
    return False


def shortened(text: str, most: int = 80) -> str:
    """The beginning of what a person gave, for a message."""
    return text if len(text) <= most else f"{text[:most]} …"


def without_password(address: str) -> str:
    """A URL as it may be shown: without a user's name, a password, or what stands behind a question mark.

    A password may hold any character, also those that end a host's name.
    """
    return re.sub(r"^([A-Za-z][\w+.-]*:/*)?.*@|[?#].*", r"\1", address, flags=re.DOTALL)


def check_no_password(address: str) -> None:
    """See that a URL which is kept in settings, and told in reports, holds no password.

    Raises:
        InputError: it does; without it in the message.
    """
    if re.match(r"[A-Za-z][\w+.-]*://[^/@]*:(?!\d*(/|$))[^@]*@", address):
        name = f"FSSPEC_{address.partition(':')[0].upper()}_PASSWORD"
        raise InputError(
            f"The address {without_password(address)} holds a password, which would stand in the run's "
            f"folder and its report; leave it out, and put it into the environment ({name})."
        )


@contextmanager
def reading(what: object, verb: str = "used", advice: str = "") -> Iterator[None]:
    """Turn whatever goes wrong while something of the user's is read into one line that names it.

    Args:
        what: the file, or whatever else is read.
        verb: what it cannot be, such as "used".
        advice: a sentence about what to do.

    Raises:
        InputError: something went wrong. Errors that are meant for people pass unchanged.
    """
    try:
        yield
    except HoldfastError:
        raise
    except Exception as error:  # a broken file shows in as many ways as there are readers
        raise InputError(f"{what} cannot be {verb}: {reason(error)}.{advice and f' {advice}'}") from error
