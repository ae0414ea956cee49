"""Files of code of the user's own, run once in a process as the modules that they are."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from holdfast.errors import InputError, said, shortened
from holdfast.files import real
from holdfast.plugins.reference import file_hash, read_code
from holdfast.timelimit import TooSlow, time_limit

CHANGED = "has changed since this run began; start it again, in a new process."
TO_RUN = 60.0  # seconds that a file may take to define what is in it
_ran: dict[Path, str] = {}


@cache
def run_file(path: Path) -> ModuleType:
    """The module that a file makes; once in a process.

    What is run is what was hashed: bytecode that Python keeps is told apart by size and seconds alone.

    Raises:
        InputError: the file is missing, cannot be read, raises when it is run, or takes longer than TO_RUN.
    """
    name = f"holdfast_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "it ends in .py"
    module = importlib.util.module_from_spec(spec)
    content = read_code(path)
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
        why, beside = where(error, path), path.parent / f"{getattr(error, 'name', None)}.py"
        if isinstance(error, ModuleNotFoundError) and beside.is_file():
            why += f"; files beside it are not looked for, so put what it needs of {beside.name} into it"
        raise InputError(f"{path} cannot be run: {why}.") from error
    return module


def load_files(paths: Iterable[str]) -> None:
    """Run files of code, so that what they define can be unpickled.

    Raises:
        InputError: as `run_file`.
    """
    for path in paths:
        run_file(real(Path(path)))


def ran() -> Mapping[Path, str]:
    """The files of code that were run in this process, with their SHA-256 when they were."""
    return _ran


def check_unchanged(known: Mapping[str, str]) -> None:
    """See that files of code are what they were when `code` looked at them, and ran as that.

    Raises:
        InputError: one is not.
    """
    for path, expected in known.items():
        if file_hash(Path(path)) != expected or _ran.get(real(Path(path)), expected) != expected:
            raise InputError(f"{path} {CHANGED}")


def where(error: BaseException, path: Path) -> str:
    """An error with the last line of the user's file that it came through."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    place = f"line {lines[-1]}: " if lines else ""
    text, _, _ = said(error).partition(" For further information visit")  # a page about pydantic
    text = shortened(text, 300).rstrip(".")
    return f"{place}{type(error).__name__}" + (f": {text}" if text else "")
