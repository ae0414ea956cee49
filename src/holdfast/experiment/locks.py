"""Who is at work in a folder, by locks that the system frees when their holder dies.

<folder>/locks/     one empty file per job, locked by the process that works on it; and one per run
                    (`run-...`), locked as long as it lives: the jobs it counts on
"""

from __future__ import annotations

import fcntl
import os
import uuid
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from holdfast import files
from holdfast.errors import InputError, reason

_USE, RUN = "use", "run-"  # lock files


class Locks:
    """The locks of one folder, by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._use: weakref.finalize | None = None

    @contextmanager
    def locked(self, name: str) -> Iterator[bool]:
        """Hold a name against other processes; gives False when one of them has it.

        It is that of an entry, or (`<name>.weights`) of the weights of one.
        """
        with self.open_lock(name) as file:
            yield try_lock(file)

    def use_names(self, names: Iterable[str]) -> None:
        """Tell other processes that the results of these names are counted on.

        Until `end_use`, or as long as this object lives: a report that follows a run counts on them, too.
        """
        before = self._use
        with self.open_lock(_USE) as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)  # nothing is being removed while it is said
            path = self.root / "locks" / f"{RUN}{os.getpid()}-{uuid.uuid4().hex[:8]}"
            file = path.open("x+")
            file.write("".join(f"{name}\n" for name in names))
            file.flush()
            fcntl.flock(file, fcntl.LOCK_SH)
        self._use = weakref.finalize(self, _end_use, path, file)
        if before is not None:  # not sooner: who watches would take the run for ended
            before()

    def end_use(self) -> None:
        if self._use is not None:
            self._use()
            self._use = None

    def check_lockable(self) -> None:
        """See that files can be locked in the folder.

        Raises:
            InputError: they cannot.
        """
        with self.open_lock(_USE) as gate:
            try:
                fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # somebody else could
                pass
            except OSError as error:
                raise InputError(
                    f"Files in {self.root / 'locks'} cannot be locked ({reason(error)}), without which two "
                    "processes could do one job at once. Mount the disk with locks (NFS 4; Lustre with "
                    "'-o flock'), or choose a folder on another disk."
                ) from None

    @contextmanager
    def removing(self) -> Iterator[set[str]]:
        """The names of results that are in use; no process begins to use any in the block."""
        with self.open_lock(_USE) as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            used: set[str] = set()
            for path in (self.root / "locks").glob(f"{RUN}*"):
                with files.opened(path, "a+") as file:
                    if try_lock(file):
                        path.unlink(missing_ok=True)  # its process is gone, maybe just now
                    else:
                        file.seek(0)
                        used |= set(file.read().split())
            yield used

    def open_lock(self, name: str) -> IO[str]:
        """A lock file, open for reading and writing: NFS wants one for a shared lock, the other else."""
        path = self.root / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return files.opened(path, "a+")  # where a link lies there, its target stays as it is


def _end_use(path: Path, file: IO[str]) -> None:
    remove_mark(path)
    file.close()


def remove_mark(path: Path) -> None:
    """Remove a file whose lock says something; what stays on a disk that cannot be written any more says
    nothing once its process is gone."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def try_lock(file: IO[str]) -> bool:
    """Whether nobody else had its lock; this process has it then."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_writable(folder: Path, purpose: str) -> None:
    """See that files can be written in a folder, which is made if needed.

    Raises:
        InputError: they cannot.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        files.write_json(probe, {"probe": " " * 4096})  # of which a full disk keeps nothing
        probe.unlink(missing_ok=True)  # by another one of this number, in a container
    except OSError as error:
        raise InputError(
            f"The {purpose} folder {folder} cannot be written: {error.strerror}. "
            f"Choose another with {purpose}=FOLDER, or make room there."
        ) from None
