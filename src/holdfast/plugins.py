"""Code of the user's own, named as `rules.py:score`: found, known by its content, and called with care.

A reference stands wherever the package has a name of its own: a scorer, a reward, a filter, a way of
learning, a strategy, a measure, a task, an executor, a tracker. The file's hash is part of every
fingerprint that the code counts for, so a changed rule is another experiment. What it imports besides is
not watched: a rule belongs in one file.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from holdfast.errors import HoldfastError, InputError, said, shortened, suggestion
from holdfast.files import read_bytes, real, user_path
from holdfast.timelimit import TooSlow, time_limit

_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
_ran: dict[Path, str] = {}  # files that were run in this process, with their hashes then
SECONDS = 10.0  # that one call may take, unless the function has an attribute `seconds`
LONGEST = 86_400.0  # seconds that such an attribute may say
_CHANGED = "has changed since this run began; start it again, in a new process."
TO_RUN = 60.0  # seconds that a file may take to define what is in it


def is_reference(value: object) -> bool:
    """Whether a setting names code of the user's own."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def absolute(value: Any, folder: Path) -> Any:
    """A setting, or a whole tree of them, with the files of references made absolute from `folder`.

    A weighted reference (`rules.py:score` as a key) counts, too.
    """
    return _changed(value, lambda found: f"{real(folder / user_path(found['file']))}:{found['name']}")


def references(value: Any) -> Iterator[str]:
    """All references in a tree of settings."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from references(key)
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)
    elif is_reference(value):
        yield value


def identify(value: Any) -> Any:
    """The same tree with each reference as its name and the hash of its file, wherever that lies.

    Raises:
        InputError: a file cannot be read.
    """
    return _changed(value, lambda found: f"{found['name']} of {file_hash(Path(found['file']))}")


def _changed(value: Any, change: Callable[[re.Match[str]], str]) -> Any:
    """A tree of settings with another text in the place of every reference."""
    if isinstance(value, dict):
        return {_changed(key, change): _changed(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(inner, change) for inner in value]
    if isinstance(value, str) and (found := _REFERENCE.fullmatch(value)):
        return change(found)
    return value


def file_hash(path: Path) -> str:
    """SHA-256 of a file of the user's.

    Raises:
        InputError: it cannot be read.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror}.") from None


def code(value: Any) -> dict[str, str]:
    """The files of all references in a tree of settings, with their hashes.

    Raises:
        InputError: one cannot be read.
    """
    paths = {reference.rpartition(":")[0] for reference in references(value)}
    return {path: file_hash(Path(path)) for path in sorted(paths)}


def check_unchanged(known: Mapping[str, str]) -> None:
    """See that files of code are what they were when `code` looked at them, and ran as that.

    Raises:
        InputError: one is not.
    """
    for path, expected in known.items():
        if file_hash(Path(path)) != expected or _ran.get(real(Path(path)), expected) != expected:
            raise InputError(f"{path} {_CHANGED}")


def ran() -> list[Path]:
    """The files of code that were run in this process."""
    return [*_ran]


def load_files(paths: Iterable[str]) -> None:
    """Run files of code, so that what they define can be unpickled.

    Raises:
        InputError: as `load`.
    """
    for path in paths:
        _module(real(Path(path)))


def load(reference: str) -> Any:
    """What a reference names.

    Raises:
        InputError: the file is missing, raises when it is run, or has no such name.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise InputError(f"'{reference}' names no code; write FILE.py:NAME.")
    path = real(Path(found["file"]))
    module = _module(path)
    if not hasattr(module, found["name"]):
        if file_hash(path) != _ran[path]:  # in a notebook, say, which ran it as it was
            raise InputError(f"{found['file']} {_CHANGED}")
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
    if not inspect.isfunction(own) or Path(own.__code__.co_filename) not in _ran:
        return
    if not str(hook.__annotations__.get("return")).startswith("Itera"):
        _check_returns(what, own)
    asked = inspect.signature(hook).parameters.values()
    needed = [one for one in asked if one.default is one.empty]
    _check_arguments(what, own, [one.name for one in needed if one.kind is one.POSITIONAL_OR_KEYWORD])


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
        _seconds(reference, found)
    return found


def _seconds(reference: str, function: Callable[..., Any]) -> float:
    """What one call of a function may take."""
    seconds = getattr(function, "seconds", SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise InputError(
            f"{reference}: its attribute `seconds` is {shown(seconds)}; it must be a number above 0, of at "
            f"most {LONGEST:,.0f}."
        )
    return seconds


@cache
def _module(path: Path) -> ModuleType:
    """The module that a file makes; once in a process.

    What is run is what was hashed: bytecode that Python keeps is told apart by size and seconds alone.
    """
    name = f"holdfast_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "it ends in .py"
    module = importlib.util.module_from_spec(spec)
    content = _content(path)
    _ran[path] = hashlib.sha256(content).hexdigest()
    sys.modules[name] = module  # pydantic looks annotations up there
    try:
        with time_limit(TO_RUN):
            exec(compile(content, path, "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, TooSlow):
            raise InputError(
                f"{path} takes more than {TO_RUN:g} s to be run, before anything in it is used; move long "
                "work into its functions."
            ) from None
        why, beside = _where(error, path), path.parent / f"{getattr(error, 'name', None)}.py"
        if isinstance(error, ModuleNotFoundError) and beside.is_file():
            why += f"; files beside it are not looked for, so put what it needs of {beside.name} into it"
        raise InputError(f"{path} cannot be run: {why}.") from error
    return module


def call(reference: str, *arguments: Any, about: str) -> Any:
    """What a function of the user's returns.

    Args:
        about: what it was asked about, for messages.

    Raises:
        HoldfastError: it raised an error, or took longer than its `seconds` (10 where it does not say).
    """
    function = load_function(reference)
    seconds = _seconds(reference, function)
    try:
        with time_limit(seconds), blamed(reference, about), torch_kept():
            return function(*arguments)
    except TooSlow:
        raise HoldfastError(
            f"{reference} took more than {seconds:g} s over {about}. Make it faster, or give the function an "
            "attribute `seconds`."
        ) from None


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
        raise HoldfastError(f"{reference} failed on {about}: {_where(error, path)}.") from error


def fault_in(reference: str, error: BaseException) -> str | None:
    """What went wrong in code of the user's, with its line, in a few words; None for other names."""
    return _where(error, Path(reference.rpartition(":")[0])) if is_reference(reference) else None


def fault(error: BaseException) -> str | None:
    """What went wrong in a file of the user's, with its line; None for an error from elsewhere."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    path = next((path for frame in frames if (path := Path(frame.filename)) in _ran), None)
    return None if path is None else f"{path} failed: {_where(error, path)}."


def telling_exit(tell: Callable[[str], None]) -> Callable[[int], NoReturn]:
    """An `os._exit` that says who ends this process, and never ends it as if all had gone well.

    Processes that are copied from this one end as they will.
    """
    leave, process = os._exit, os.getpid()

    def end(status: int) -> NoReturn:
        if os.getpid() == process:
            frames = reversed(traceback.extract_stack())
            frame = next((one for one in frames if Path(one.filename) in _ran), None)
            place = f"{frame.filename} line {frame.lineno}" if frame else "A library"
            tell(
                f"{place} ended Holdfast by os._exit({status}). What was done stays; raise an error instead."
            )
            status = 1
        leave(status)

    return end


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


def _where(error: BaseException, path: Path) -> str:
    """An error with the last line of the user's file that it came through."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    place = f"line {lines[-1]}: " if lines else ""
    text, _, _ = said(error).partition(" For further information visit")  # a page about pydantic
    text = shortened(text, 300).rstrip(".")
    return f"{place}{type(error).__name__}" + (f": {text}" if text else "")
