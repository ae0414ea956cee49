"""Files and folders of which a reader sees the whole or nothing, whenever the process dies."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from holdfast.files.paths import real
from holdfast.files.regular import check_regular

_SUFFIX = ".unfinished"
_UNFINISHED = re.compile(r"\..+\.[\w-]*-[a-z0-9_]{8}\.unfinished")  # names of what is being written
_LEFT_OVER = 60.0  # seconds, by which a file that was made is locked
_DAY = 86400.0


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, which takes its place only when the block ends without an error.

    Raises:
        NotRegular: a pipe, a socket or a device is there, such as /dev/null, which others count on.
    """
    check_regular([path])
    path.parent.mkdir(parents=True, exist_ok=True)
    with _said_of(path):
        handle, name = tempfile.mkstemp(_SUFFIX, _prefix(path), path.parent)
    temporary = Path(name)
    try:
        _lock(handle)
        sweep(path.parent, temporary.stat().st_mtime)
        with _said_of(path):
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # mkstemp's own mode is for the owner alone
            sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


@contextmanager
def whole_folder(target: Path, new: bool = False) -> Iterator[Path]:
    """Fill a temporary folder; it becomes `target`, or what a link there leads to, if the block has no error.

    A folder that is replaced stays whole until the new one has its place: see `recover_folder`. A `new` one
    replaces none: what comes there meanwhile is somebody's.
    """
    target = _behind(target)
    with scratch_folder(target) as temporary:
        recover_folder(target)
        temporary.chmod(0o777 & ~_umask())  # mkdtemp's own mode is for the owner alone
        with _said_of(target):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    file.chmod(0o666 & ~_umask())  # safetensors writes for the owner alone
                    sync(file)
        try:
            if target.exists():
                if new:
                    raise FileExistsError(errno.EEXIST, "This came there while it was made", str(target))
                shutil.rmtree(_replaced(target), ignore_errors=True)
                os.replace(target, _replaced(target))
            os.replace(temporary, target)
            sync(target.parent)
        except BaseException:
            recover_folder(target)
            raise
    shutil.rmtree(_replaced(target), ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Put the old folder back where a process died before the new one had its place; else remove it."""
    target = _behind(target)
    if target.exists():
        shutil.rmtree(_replaced(target), ignore_errors=True)
    elif _replaced(target).exists():
        os.replace(_replaced(target), target)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that is gone after the block; what killed processes left there goes, too."""
    handle, temporary = _locked_folder(target)
    try:
        sweep(target.parent, temporary.stat().st_mtime)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


def sweep(folder: Path, now: float) -> None:
    """Remove what killed processes left unfinished in a folder, and nothing that a living one writes.

    What is being written is locked as long as its process lives. Other machines may not see that lock:
    theirs goes when it has not changed for a day.

    Args:
        now: seconds since 1970 by the clock of the folder's disk.
    """
    unfinished: list[Path] = []
    with suppress(OSError), os.scandir(folder) as found:
        unfinished.extend(Path(entry) for entry in found if _UNFINISHED.fullmatch(entry.name))
    for path in unfinished:
        with suppress(OSError):  # another process was faster, or it is somebody else's
            if path.is_symlink():
                continue
            least = _LEFT_OVER if path.is_file() else 0.0
            if now - _changed(path) >= (least if f".{_host()}-" in path.name else _DAY):
                with _handle_of(path) as handle:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def sync(path: Path) -> None:
    """Ask the system to put a file's or folder's content on disk."""
    with _handle_of(path) as handle:
        os.fsync(handle)


@contextmanager
def _said_of(target: Path) -> Iterator[None]:
    """Errors of the system name the place that is written, and neither none nor a temporary one."""
    temporary = os.path.join(os.path.abspath(target.parent), _prefix(target))
    try:
        yield
    except OSError as error:
        place = error.filename if error.filename2 is None else error.filename2
        within = place is None or os.path.abspath(str(place)).startswith(temporary)
        if error.errno is not None and within:
            error.filename, error.filename2 = str(target), None
        raise


def _locked_folder(target: Path) -> tuple[int, Path]:
    """A new folder beside `target`, and the open file that keeps it locked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with _said_of(target):
            temporary = Path(tempfile.mkdtemp(_SUFFIX, _prefix(target), target.parent))
        with suppress(FileNotFoundError):  # another process swept it before it was locked
            handle = os.open(temporary, os.O_RDONLY)
            _lock(handle)
            if temporary.exists():
                return handle, temporary
            os.close(handle)


def _lock(handle: int) -> None:
    with suppress(OSError):  # a disk without locks, where nobody can find it dead
        fcntl.flock(handle, fcntl.LOCK_SH)


@contextmanager
def _handle_of(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _changed(folder: Path) -> float:
    """When something in a folder was last written."""
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _prefix(target: Path) -> str:
    """How the name of what is to become `target` begins."""
    return f".{_short(target.name)}.{_host()}-"


def _short(name: str) -> str:
    """A name that leaves room for more within LONGEST_NAME."""
    known = name.encode(errors="surrogateescape")
    if len(known) <= 150:
        return name
    return f"{known[:130].decode(errors='ignore')}-{hashlib.sha256(known).hexdigest()[:16]}"


def _host() -> str:
    return re.sub(r"[^\w-]", "", platform.node().partition(".")[0], flags=re.ASCII)[:40]


def _behind(target: Path) -> Path:
    """What a link leads to, which may not be there; else the path itself."""
    return real(target) if target.is_symlink() else target


def _replaced(target: Path) -> Path:
    """Where a folder waits while another takes its place."""
    return target.with_name(f".{_short(target.name)}.replaced.old")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
