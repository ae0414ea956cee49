"""Writing files so that a reader sees the whole of one or nothing, whenever the process dies."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from holdfast.errors import InputError, NotRegular, shortened

T = TypeVar("T")
LONGEST_NAME = 255  # bytes that a file system takes
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


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, flush it to disk, and rename it."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


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


def _changed(folder: Path) -> float:
    """When something in a folder was last written."""
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, written whole."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line, written whole."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def opened(path: Path, mode: str = "rb") -> Any:
    """As `path.open`, with texts in UTF-8; but a pipe is not waited for.

    Raises:
        NotRegular: it is a pipe, a socket or a device.
        OSError: it cannot be opened.
    """
    return open(path, mode, encoding=None if "b" in mode else "utf-8", opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    try:
        handle = os.open(path, flags | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a pipe that nobody reads
            raise NotRegular(path) from None
        raise
    if is_odd(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegular(path)
    return handle


def is_odd(mode: int) -> bool:
    """Whether a mode is that of a pipe, a socket or a device."""
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_regular(paths: Iterable[Path]) -> None:
    """See that these are files and folders, before others read them.

    Raises:
        NotRegular: one is a pipe, a socket or a device.
    """
    for path in paths:
        with suppress(FileNotFoundError):  # a link to nothing
            if is_odd(path.stat().st_mode):
                raise NotRegular(path)


def read_bytes(path: Path) -> bytes:
    """What a file holds; raises as `opened`."""
    with opened(path) as file:
        return bytes(file.read())


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; raises as `opened`, and ValueError where it is no such text."""
    with opened(path, "r") as file:
        return str(file.read())


def read_json(path: Path) -> Any:
    """What a JSON file says; raises as `read_text`, and ValueError where it is not JSON."""
    return parse_json(read_text(path))


def read_if_there(path: Path) -> Any:
    """As `read_json`; None where it cannot be read."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def recall(memory: Path, version: int, kind: type[T]) -> dict[str, T]:
    """What `remember` kept in a file; nothing of another version, nor where it says something else."""
    kept = read_if_there(memory)
    found = kept.get("found") if isinstance(kept, dict) and kept.get("version") == version else None
    return found if isinstance(found, dict) and all(isinstance(one, kind) for one in found.values()) else {}


def remember(memory: Path, version: int, found: Mapping[str, Any]) -> None:
    """Keep what was found, for other processes; where it cannot be written it is found again."""
    with suppress(OSError):
        write_json(memory, {"version": version, "found": dict(found)})


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is not JSON, or nested deeper than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file with one JSON object a line; blank lines do not count.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is not JSON.
    """
    with opened(path, "r") as file:
        return [json.loads(line) for line in file if line.strip()]


def user_path(text: str | Path) -> Path:
    """A path as a person writes it: `~` is a home folder.

    Raises:
        InputError: there is no such home, or it cannot be a path.
    """
    path = Path(text)
    if "\0" in str(text):
        raise InputError(f"{str(text)!r} is no path: it holds the character NUL.")
    if max((len(name.encode(errors="replace")) for name in path.parts), default=0) > LONGEST_NAME:
        raise InputError(f"{shortened(str(text))} is no path: a name has at most {LONGEST_NAME} bytes.")
    try:
        return path.expanduser()
    except RuntimeError:
        raise InputError(f"{text} is no path: nobody here is called {path.parts[0][1:]}.") from None


def real(path: Path) -> Path:
    """As `Path.resolve`, which some versions of Python end with RuntimeError at a loop of links."""
    return Path(os.path.realpath(path))


def is_url(text: str) -> bool:
    """Whether a text is a URL, such as s3://bucket/runs."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def is_hub_id(text: str) -> bool:
    """Whether a text has the form of a hub's ids: owner/name."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text) is not None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state(path: Path) -> tuple[int, int, int]:
    """What tells a file's content from others under its name: size, time of change, and when that was set.

    Archives and copies set the time of change, also to that of a file of equal size that was there before.

    Raises:
        OSError: it is not there.
    """
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def listing(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file under a folder, by its name from there."""
    check_regular(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def free_name(path: Path) -> Path:
    """The path, or with a number behind it where something is there already."""
    free, number = path, 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


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


def _behind(target: Path) -> Path:
    """What a link leads to, which may not be there; else the path itself."""
    return real(target) if target.is_symlink() else target


def _replaced(target: Path) -> Path:
    """Where a folder waits while another takes its place."""
    return target.with_name(f".{_short(target.name)}.replaced.old")


def sync(path: Path) -> None:
    """Ask the system to put a file's or folder's content on disk."""
    with _handle_of(path) as handle:
        os.fsync(handle)


def size(folder: Path) -> int:
    """Bytes of all files under a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # removed meanwhile, or a link to nothing
                total += os.stat(os.path.join(place, name)).st_size
    return total


def remove_folder(folder: Path, trash: Path) -> int:
    """Remove a folder, which nobody ever sees half removed; returns the bytes that were freed."""
    freed = size(folder)
    trash.mkdir(parents=True, exist_ok=True)
    hidden = free_name(trash / f"{folder.parent.name}-{folder.name}-{os.getpid()}")
    try:
        folder.rename(hidden)
    except FileNotFoundError:
        return 0
    shutil.rmtree(hidden, ignore_errors=True)
    return freed
