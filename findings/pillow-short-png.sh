#!/usr/bin/env bash
# Pillow 13.0.0 opens a PNG whose data end after some whole rows as if it were whole: the rows that are missing
# are black. Data that end within a row are an error ("image file is truncated").
# Exits with 0 while that is so. Takes about 50 MB and the package index; Holdfast has no part in it.
set -euo pipefail
PILLOW=13.0.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "pillow==$PILLOW"

cd "$folder" # nothing of a checkout is imported
"$python" - <<'PYTHON'
import struct
import sys
import zlib
from io import BytesIO

import PIL
from PIL import Image

WIDTH, HEIGHT = 4, 12


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(rows: bytes) -> BytesIO:
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)  # 8-bit RGB
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return BytesIO(b"\x89PNG\r\n\x1a\n" + chunks)


row = b"\0" + b"\xff" * 3 * WIDTH  # no filter, then white
print(f"Pillow {PIL.__version__}, a white picture of {HEIGHT} rows")
try:
    Image.open(png(row * 4 + row[:7])).load()
except OSError as error:
    print(f"Data of four rows and a half: OSError: {error}")
try:
    image = Image.open(png(row * 4))
    image.load()
except OSError as error:
    print(f"Changed: data of four rows: OSError: {error}")
    sys.exit(1)
last = image.getpixel((0, HEIGHT - 1))
print(f"Data of four rows: no error; the last row is {last}.")
sys.exit(last != (0, 0, 0))
PYTHON
