"""What references name: found in its file, and seen to be what it is taken for before any work."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import InputError, suggestion
from holdfast.files import real
from holdfast.plugins.modules import CHANGED, ran, run_file
from holdfast.plugins.reference import REFERENCE, file_hash
from holdfast.plugins.values import shown

SECONDS = 10.0  # that one call may take, unless the function has an attribute `seconds`
LONGEST = 86_400.0  # seconds that such an attribute may say


def load(reference: str) -> Any:
    """What a reference names.

    Raises:
        InputError: the file is missing, raises when it is run, or has no such name.
    """
    found = REFERENCE.fullmatch(reference)
    if found is None:
        raise InputError(f"'{reference}' names no code; write FILE.py:NAME.")
    path = real(Path(found["file"]))
    module = run_file(path)
    if not hasattr(module, found["name"]):
        if file_hash(path) != ran()[path]:  # in a notebook, say, which ran it as it was
            raise InputError(f"{found['file']} {CHANGED}")
        known = [name for name in vars(module) if not name.startswith("_")]
        raise InputError(
            f"{found['file']} has nothing called {found['name']}{suggestion(found['name'], known)}"
        )
    return getattr(module, found["name"])


def load_own(place: str) -> Any:
    """What the package itself has at `module:NAME`, imported when it is asked for."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def load_class(reference: str, base: type) -> Any:
    """The class that a reference names.

    Raises:
        InputError: as `load`, or it is no class made from `base`, or lacks what that leaves to it.
    """
    found = load(reference)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"{reference} must be a class made from {base.__module__}.{base.__qualname__}.")
    if lacking := sorted(getattr(found, "__abstractmethods__", ())):
        raise InputError(f"{reference} has no `{lacking[0]}`; add it to the class.")
    from holdfast.settings import Settings  # which takes a tenth of a second to import

    if issubclass(base, Settings) and found.__init__ is not base.__init__:
        raise InputError(
            f"{reference} has an `__init__`, by which settings are not checked; write each as a line of the "
            "class, such as `scale: float = 1.0`."
        )
    ours = [vars(one) for one in found.__mro__ if one.__module__.startswith("holdfast.")]
    for name, hook in {name: hook for one in reversed(ours) for name, hook in one.items()}.items():
        if inspect.isfunction(hook) and not name.startswith(("_", "model_")):  # pydantic's
            _check_hook(f"{reference}: `{name}`", found, name, hook)
    return found


def _check_hook(what: str, found: type, name: str, hook: Callable[..., Any]) -> None:
    """See that what a class of the user's has in the place of a function of ours can be called like it.

    Raises:
        InputError: it cannot.
    """
    own = inspect.getattr_static(found, name)
    if name in getattr(found, "model_fields", {}) or not (callable(own) or isinstance(own, classmethod)):
        raise InputError(f"{what} is called by Holdfast, and is no function here; give it another name.")
    if not inspect.isfunction(own) or Path(own.__code__.co_filename) not in ran():
        return
    if not str(hook.__annotations__.get("return")).startswith("Itera"):
        _check_returns(what, own)
    asked = inspect.signature(hook).parameters.values()
    needed = [one for one in asked if one.default is one.empty]
    _check_arguments(what, own, [one.name for one in needed if one.kind is one.POSITIONAL_OR_KEYWORD])


def load_function(reference: str, *given: str) -> Callable[..., Any]:
    """The function that a reference names.

    Args:
        given: what it will be called with; nothing where that was looked at before.

    Raises:
        InputError: as `load`, or it cannot be called so.
    """
    found = load(reference)
    if not callable(found):
        raise InputError(f"{reference} must be a function.")
    if given:
        _check_returns(reference, found)
        _check_arguments(reference, found, given)
        seconds_of(reference, found)
    return found


def _check_returns(what: str, own: Callable[..., Any]) -> None:
    """See that code of the user's gives its result when it is called.

    Raises:
        InputError: it gives something to be awaited or gone through.
    """
    waits = inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction
    if any(kind(own) for kind in waits):
        raise InputError(f"{what} must return its result, without `async` or `yield`.")


def _check_arguments(what: str, own: Callable[..., Any], given: Sequence[str]) -> None:
    """See that code of the user's can be called with these arguments, before any work.

    Raises:
        InputError: it takes more or fewer.
    """
    try:
        takes = inspect.signature(own)
    except ValueError:  # one of Python's own may not say
        return
    try:
        takes.bind(*given)
    except TypeError:
        named = ", ".join(takes.parameters)
        raise InputError(f"{what} takes ({named}), and is called with ({', '.join(given)}).") from None


def seconds_of(reference: str, function: Callable[..., Any]) -> float:
    """What one call of a function may take.

    Raises:
        InputError: its attribute `seconds` is no such number.
    """
    seconds = getattr(function, "seconds", SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise InputError(
            f"{reference}: its attribute `seconds` is {shown(seconds)}; it must be a number above 0, of at "
            f"most {LONGEST:,.0f}."
        )
    return seconds
