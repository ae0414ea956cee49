"""Who works on a store: several machines may, where the locks of its disk hold between them.

Each run has a file `locks/host-...` in the store, which it keeps locked and writes anew every second. One
that is written though it can be locked here is of a machine whose locks are not seen. No clocks are compared.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from holdfast import files
from holdfast.errors import InputError
from holdfast.experiment.locks import RUN, remove_mark, try_lock
from holdfast.experiment.store import Store
from holdfast.versions import package_versions

PREFIX = "host-"
BEAT_SECONDS = 1.0


@contextmanager
def announced(store: Store, warn: Callable[[str], None]) -> Iterator[None]:
    """Say within the block that this machine works on the store.

    Args:
        warn: is told of machines there that have other versions of what computes.

    Raises:
        InputError: another machine is at work and does not see our locks, nor we its.
    """
    host, ended = platform.node(), threading.Event()
    path = store.root / "locks" / f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with path.open("x+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _write(file, host, 0)
        writer = threading.Thread(target=_keep_writing, args=(file, host, ended), daemon=True)
        writer.start()
        try:
            others = sorted(other for other in path.parent.glob(f"{PREFIX}*") if other != path)
            met = {other: said for other in others if (said := _meet(other, host, warn)) is not None}
            _see_that_they_are_gone(met, store)
            yield
        finally:
            ended.set()
            writer.join()
            remove_mark(path)


def in_use(store: Store) -> dict[str, int]:
    """The names of results that living processes count on, as far as this machine can tell, with when the
    first of them said so: nanoseconds by the clock of the store's disk."""
    used: dict[str, int] = {}
    for path in (store.root / "locks").glob(f"{RUN}*"):
        mode = "r+" if os.access(path, os.W_OK) else "r"  # NFS wants it to be open for writing
        with suppress(FileNotFoundError), files.opened(path, mode) as file:  # else it ended just now
            if not try_lock(file):
                since = os.fstat(file.fileno()).st_mtime_ns
                used |= {name: min(since, used.get(name, since)) for name in file.read().split()}
    return used


def _meet(path: Path, host: str, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """What another process's file says, where nobody holds its lock and it is of another machine."""
    said = _read(path)
    if said is None:
        return None
    if not _free(path):
        if said["versions"] != package_versions():
            warn(
                f"{said['host']} works on this store with {_words(said['versions'])}, this machine with "
                f"{_words(package_versions())}: results may differ in their last digits."
            )
        return None
    if said["host"] != host:
        return said
    path.unlink(missing_ok=True)  # its process is gone
    return None


def _see_that_they_are_gone(met: dict[Path, dict[str, Any]], store: Store) -> None:
    """Wait until files would have been written anew, all of them at once; those of processes that are gone
    are removed."""
    until = time.monotonic() + 4 * BEAT_SECONDS
    while met and time.monotonic() < until:
        for path, before in met.items():
            now = _read(path)
            if now is not None and now != before:
                raise InputError(
                    f"{before['host']} works on the store {store.root} at this moment, but its locks are "
                    "not seen here, so both would do the same jobs in the same folders. Mount the disk with "
                    "locks between machines (NFS 4; Lustre with '-o flock'), or give each machine a "
                    "store=FOLDER of its own."
                )
        time.sleep(BEAT_SECONDS / 4)
    for path in met:
        path.unlink(missing_ok=True)


def _free(path: Path) -> bool:
    """Whether nobody holds the lock of a file, as far as this machine can tell."""
    try:
        with files.opened(path, "r+") as file:  # which makes none where it ended just now
            return try_lock(file)
    except FileNotFoundError:
        return True


def _keep_writing(file: IO[str], host: str, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_SECONDS):
        count += 1
        _write(file, host, count)


def _write(file: IO[str], host: str, count: int) -> None:
    text = json.dumps({"host": host, "versions": package_versions(), "count": count})
    with suppress(OSError):  # a full disk is noticed by those who write results
        file.seek(0)
        file.write(f"{text}\n")
        file.truncate()
        file.flush()


def _read(path: Path) -> dict[str, Any] | None:
    """What the file says; None where it is gone or half written."""
    try:
        found = files.read_json(path)
        return {"host": str(found["host"]), "versions": dict(found["versions"]), "count": found["count"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _words(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
