"""Files in a place that fsspec reaches (s3://, gs://, file://); where the way there fails, it is tried again.

Nothing that is read there is run or unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from holdfast import files
from holdfast.errors import HoldfastError, InputError, check_no_password, reason

PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between tries
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_ON = "what was done stays, and the same command goes on from there"
_KEYLESS = ("credential", "anonymous", "access key", "access_key")  # in what packages say where keys lack

_PATTERN = re.compile(r"[*?[]")  # fsspec takes paths with these for patterns

T = TypeVar("T")


class Unreachable(HoldfastError):
    """A place cannot be reached or used; what was done here stays."""


class Remote:
    """The files under a URL, by their names from there.

    Every method raises Unreachable, and OSError where a disk is full.

    Raises:
        InputError: the URL is of no known kind, or of one whose package is not installed, or holds a
            password.
    """

    def __init__(self, url: str) -> None:
        import fsspec
        from fsspec.registry import known_implementations

        check_no_password(url)
        self.url = url.rstrip("/")
        protocol, _, address = url.partition("://")
        if protocol in ("file", "local") and not address.startswith(("/", "~")):
            raise InputError(  # it would be another place for each folder that a command is given in
                f"The store {url} is no whole address: write {protocol}:///PATH with the path from /, or the "
                "path alone, which counts from the folder that the command is given in."
            )
        if odd := _PATTERN.search(address):
            raise InputError(
                f"The store {url} has {odd[0]} in its address, which stands for other names where files are "
                "removed; choose an address without *, ? and [."
            )
        # Folders are made on disks alone; elsewhere there are none, and a bucket is not made by mistake.
        self._on_disk = protocol in ("file", "local")
        options = {"auto_mkdir": True} if self._on_disk else {}
        try:
            self._fs, base = fsspec.url_to_fs(url, use_listings_cache=False, **options)
        except ImportError:
            known = known_implementations[protocol]
            package = known["class"].partition(".")[0]
            release = f"=={fsspec.__version__}" if package in ("s3fs", "gcsfs") else ""  # they go together
            lacks = known.get("err", protocol) if package == "fsspec" else f"pip install {package}{release}"
            raise InputError(f"The store {url} needs a package that is not installed: {lacks}.") from None
        except Exception as error:  # each kind checks its addresses in its own way
            raise InputError(f"The store {url} cannot be used: {reason(error)}.") from None
        self._base = str(base).rstrip("/")

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Bytes of all files under a folder, by their names from it; none where it is not there."""
        path = self._path(folder)
        options = {"on_error": _unless_gone} if self._on_disk else {}  # else what is unreadable is left out
        try:
            found = self._try("read", self._fs.find, path, detail=True, **options)
        except FileNotFoundError:
            return {}
        return {
            name.removeprefix(f"{path}/"): facts["size"]
            for name, facts in found.items()
            if name.startswith(f"{path}/")
        }

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None where there is none."""
        try:
            return self._try("read", self._fs.cat_file, self._path(name))
        except FileNotFoundError:
            return None

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """The contents of small files, many at a time; nothing of those that are gone by now."""
        paths = [self._path(name) for name in names]

        def read() -> dict[str, Any]:
            found: dict[str, Any] = self._fs.cat(paths, on_error="return")
            for error in found.values():
                if isinstance(error, Exception) and not isinstance(error, FileNotFoundError):
                    raise error
            return found

        found = self._try("read", read) if paths else {}
        return [found[path] if isinstance(found[path], bytes) else b"" for path in paths]

    def digest(self, name: str) -> str:
        """SHA-256 of a file's content.

        Raises:
            FileNotFoundError: there is none.
        """

        def digest() -> str:
            with self._fs.open(self._path(name), "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        return self._try("read", digest)

    def fetch(self, place: str, name: str, folder: Path) -> bool:
        """Bring a file to a folder here, whole; False where there is none, or its name leads out of there."""
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return False
        try:
            with files.whole_file(folder / name) as temporary:
                self._try("read", self._fs.get_file, self._path(f"{place}/{name}"), str(temporary))
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, content: bytes) -> None:
        """Put a small file there."""
        self._try("written", self._fs.pipe_file, self._path(name), content)

    def put(self, folder: Path, place: str, begin: tuple[str, ...] = ("",), last: str = "") -> None:
        """Put the files of a folder there whose names begin so, and `last` once all others are there.

        What lies there in its size is not put again, and what does not lie there afterwards is.
        """
        paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        sizes = {name: path.stat().st_size for name, path in paths.items() if name.startswith(begin)}
        self._put_missing(folder, place, {name: size for name, size in sizes.items() if name != last})
        self._put_missing(folder, place, {name: size for name, size in sizes.items() if name == last})

    def _put_missing(self, folder: Path, place: str, sizes: Mapping[str, int]) -> None:
        missing = self._missing(place, sizes)
        for pause in PAUSES:
            if not missing:
                return
            for name in missing:
                self._try("written", self._fs.put_file, str(folder / name), self._path(f"{place}/{name}"))
            if missing := self._missing(place, sizes):
                time.sleep(pause)  # it may be seen a little later
                missing = self._missing(place, sizes)
        if missing:
            raise Unreachable(
                f"{self.url}/{place}/{missing[0]} was put {len(PAUSES)} times and is not there in its size. "
                f"See what is wrong with that place; {_ON}."
            )

    def _missing(self, place: str, sizes: Mapping[str, int]) -> list[str]:
        """Those of these files that do not lie there in their sizes."""
        there = self.sizes(place)
        return sorted(name for name, size in sizes.items() if there.get(name) != size)

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it is there."""
        with suppress(FileNotFoundError):
            self._try("cleared", self._fs.rm, self._path(name), recursive=True)

    def move(self, place: str, target: str, first: str) -> None:
        """Move a folder file by file, one of them before the others; another machine may be at it, too."""
        for name in sorted(self.sizes(place), key=lambda name: name != first):
            source = f"{place}/{name}"
            with suppress(FileNotFoundError):
                self._try("moved", self._fs.cp_file, self._path(source), self._path(f"{target}/{name}"))
            self.remove(source)

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    def _try(self, verb: str, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """The result of a call, made again where it fails for what may pass.

        Raises:
            FileNotFoundError: what is to be read or cleared is not there.
        """
        for pause in (*PAUSES, None):
            try:
                return call(*arguments, **options)
            except Exception as error:  # each kind of place has errors of its own
                if verb != "written" and isinstance(error, FileNotFoundError):
                    raise
                if (number := getattr(error, "errno", None)) in _FULL:
                    if verb == "written":  # the store's disk; of copying it would name the file here
                        raise OSError(number, os.strerror(number), self.url) from error
                    raise
                if (lasting := self._lasting(verb, error)) is not None:
                    raise Unreachable(lasting) from error
                if pause is None:
                    raise Unreachable(
                        f"The store {self.url} cannot be {verb} ({len(PAUSES) + 1} tries; {reason(error)}). "
                        f"Check the network and the address; {_ON}."
                    ) from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _lasting(self, verb: str, error: Exception) -> str | None:
        """What is wrong and will be at the next try, too; None where it may pass."""
        said = f"{type(error).__name__} {error}".lower()
        if any(word in said for word in _KEYLESS):
            return (
                f"The store {self.url} cannot be {verb}: {reason(error)}. Give credentials as to its other "
                "tools (s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws; gs: 'gcloud auth "
                f"application-default login'); {_ON}."
            )
        if isinstance(error, PermissionError) or getattr(error, "errno", None) in _REFUSED:
            return (
                f"The store {self.url} may not be {verb} ({reason(error)}). Ask for the right to, or choose "
                f"another place with store=URL; {_ON}."
            )
        # On a disk another machine clears the folder meanwhile, and it is made again.
        if isinstance(error, FileNotFoundError) and not self._on_disk:
            return (
                f"The store {self.url} cannot be written: its bucket is not there. Make it, or correct the "
                f"address; {_ON}."
            )
        return None


def _unless_gone(error: OSError) -> None:
    """Of listing a folder: raise what is not that another machine removed it just now."""
    if not isinstance(error, FileNotFoundError):
        raise error
