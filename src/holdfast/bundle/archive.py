"""Zip files that are the same bytes each time, and reading those of others without harm.

What is read is never unpacked to disk; names are of a few known forms, sizes are bounded whatever the file
says of itself, and nothing of the content is run.
"""

from __future__ import annotations

import errno
import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import InputError, shortened

NAMES = re.compile(
    r"(manifest|results|jobs)\.json|records/[0-9a-f]{16}\.jsonl|tables/[\w-]{1,250}\.(csv|json)"
)
MOST_FILES = 100_000
MOST_BYTES = 2 << 30  # of all files together, unpacked
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can say
_CHUNK = 1 << 20


def pack(files: Mapping[str, bytes]) -> bytes:
    """The files as a zip file; equal files give equal bytes.

    Raises:
        InputError: nobody could unpack it.
    """
    if (size := sum(map(len, files.values()))) > MOST_BYTES or len(files) > MOST_FILES:
        raise InputError(
            f"This bundle would hold {size:,} bytes in {len(files):,} files, and 'holdfast verify' takes "
            f"{MOST_BYTES:,} in {MOST_FILES:,}. Leave out --with-texts, or bundle experiments of fewer "
            "methods, seeds or tasks, which share the results."
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name], compresslevel=6)
    return packed.getvalue()


def unpack(path: Path) -> dict[str, bytes]:
    """The content of every file in a zip file, by name.

    Raises:
        InputError: it is no whole zip file, or holds what a bundle does not.
        OSError: it cannot be read.
    """
    found: dict[str, bytes] = {}
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_FILES:
                raise InputError(f"{path} holds {len(entries):,} files; a bundle has at most {MOST_FILES:,}.")
            for entry in entries:
                name = entry.filename
                if not NAMES.fullmatch(name) or entry.flag_bits & 1:
                    raise InputError(f"{path} is no bundle: it holds {name[:200]!r}, which bundles do not.")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise InputError(f"{path} is no bundle: {name} is packed as bundles are not.")
                if name in found:
                    raise InputError(f"{path} is no bundle: it holds {name} twice.")
                found[name] = content = _read(archive, entry, left)
                if len(content) > left:
                    raise InputError(f"{path} unpacks to more than {MOST_BYTES:,} bytes.")
                left -= len(content)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the file's beginning
            raise
        said = shortened(str(error), 200) or type(error).__name__
        raise InputError(
            f"{path} is not a whole bundle ({said}): it was cut short or damaged on "
            "its way, or is another kind of file. Copy it again."
        ) from None
    return found


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """What a file holds, or its beginning, of more bytes than `most`: it may say that it is small."""
    content = bytearray()
    with archive.open(entry) as file:
        while len(content) <= most and (chunk := file.read(_CHUNK)):
            content += chunk
    return bytes(content)
