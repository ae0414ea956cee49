"""Picture files beside rows: where they may lie, what is in them, and whether they can be used.

Reading and decoding some ten thousand pictures takes a minute or two, so what was found is remembered by
path, size and times: within the process, and of large sets in a file of the data folder.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from holdfast import files
from holdfast.tasks.imagecheck import look
from holdfast.tasks.pictures import BadImage
from holdfast.tasks.prepared import data_folder

CHECK_VERSION = 2  # raise when pictures that were good are to be looked at again
MEMORY = "pictures.json"
SHORTEST_INLINE = 200  # characters of base64: pictures but dots have more, and hardly a name has as many
PICTURE_NAME = re.compile(r"\.(jpe?g|png|gif|webp|bmp|tiff?|ppm|pgm|jp2|avif)$", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]+(=\s*){0,2}")
_OF_URLS = str.maketrans("-_", "+/")  # the two signs of base64 that a URL writes otherwise
REMEMBER_FROM = 1 << 26  # bytes of pictures; fewer are soon read again


@dataclass(frozen=True)
class Found:
    """What a look at a picture found.

    Attributes:
        sha256: of the file; empty if it could not be read.
        problem: why it cannot be used, if so.
    """

    sha256: str
    problem: str = ""


_found: dict[str, Found] = {}  # in this process, by path, size and times


def inline(name: str) -> bytes | None:
    """The picture that stands in a row itself, as a data URL or in base64; None where it is a name.

    Base64 may be broken into lines, as in mails, have the signs of URLs, or lack the `=` at its end.

    Raises:
        BadImage: it is a data URL of another kind, or broken.
    """
    if name[:5].lower() == "data:":
        kind, comma, text = name.partition(",")
        if not comma or not kind.lower().endswith(";base64"):
            raise BadImage(f"'{name[:40]}' is no data URL in base64")
    elif len(name) >= SHORTEST_INLINE and _BASE64.fullmatch(name):
        text = name
    else:
        return None
    text = "".join(text.split()).translate(_OF_URLS)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise BadImage(f"its base64 is broken: {error}") from None


def locate(folder: Path, name: str) -> Path:
    """The file of a name beside rows.

    Args:
        folder: where the rows lie, resolved.

    Raises:
        BadImage: it is no file within the folder.
    """
    if "://" in name:
        raise BadImage(f"'{name}' is an address; nothing is fetched: save the picture inside {folder}")
    try:
        path = (folder / name).resolve()
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, a NUL character
        raise BadImage(f"'{name[:80]}' is no usable path ({getattr(error, 'strerror', error)})") from None
    if not path.is_relative_to(folder):
        raise BadImage(f"'{name}' leads out of the data file's folder; put the picture inside {folder}")
    if not is_file:
        raise BadImage(f"the picture '{name}' is missing (looked for {path})")
    return path


def names_one(folder: Path, text: str) -> bool:
    """Whether a text is the name of a picture beside rows."""
    if not PICTURE_NAME.search(text):
        return False
    try:
        return bool(locate(folder, text))
    except BadImage:
        return False


def look_at(paths: Iterable[Path]) -> dict[Path, Found]:
    """What is in these files; only those that are new or changed are read."""
    keys = {path: _key(path) for path in paths}
    new = [path for path, key in keys.items() if key not in _found]
    if not new:
        return {path: _found[key] for path, key in keys.items()}
    size = sum(os.path.getsize(path) for path in new if path.exists())
    if size >= REMEMBER_FROM:
        known = files.recall(data_folder() / MEMORY, CHECK_VERSION, str)
        _found.update({key: Found(sha256) for key, sha256 in known.items()})
        new = [path for path, key in keys.items() if key not in _found]
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        warnings.simplefilter("ignore")  # decoders complain of odd metadata
        for path, found in zip(new, threads.map(_look, new), strict=True):
            _found[keys[path]] = found
    if new and size >= REMEMBER_FROM:
        good = {key: one.sha256 for key, one in _found.items() if not one.problem}
        files.remember(data_folder() / MEMORY, CHECK_VERSION, good)
    return {path: _found[key] for path, key in keys.items()}


def _look(path: Path) -> Found:
    try:
        data = path.read_bytes()
    except OSError as error:
        return Found("", str(error.strerror))
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        look(data)
    except BadImage as bad:
        return Found(sha256, str(bad))
    return Found(sha256)


def _key(path: Path) -> str:
    try:
        return " ".join(map(str, (path, *files.state(path))))
    except OSError:
        return str(path)
