"""Parquet files in the hub's layout: which belong to a split, whether they have the columns, their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from holdfast.errors import InputError
from holdfast.tasks.hub.benchmark import Benchmark, Kind, Reader, Record, Table, rows_of, stored
from holdfast.tasks.task import Split

if TYPE_CHECKING:
    import pyarrow as pa

_WORDS: Mapping[Kind, str] = {
    "text": "text",
    "texts": "a list of texts",
    "number": "a whole number",
    "scalar": "a text, number or truth value, or a list of them",
    "image": "an image (bytes, or a struct with bytes)",
    "images": "a list of images",
    "any": "of any kind",
}
WITH_IMAGES, WITHOUT_IMAGES = 64, 4096  # rows read at once


def files_of(table: Table, names: Sequence[str]) -> list[str]:
    """Those of the relative paths `names` that hold the table, in order.

    The hub's layouts: `data/train-00000-of-00003.parquet`, `CONFIG/train-….parquet`, and the
    automatic conversion's `CONFIG/train/0000.parquet`.
    """
    begins = re.compile(rf"{re.escape(table.split)}(?:-.*|_\d+.*)?\.parquet")
    found = []
    for name in sorted(names):
        *folders, file = PurePosixPath(name).parts
        if not file.endswith(".parquet"):
            continue
        if not begins.fullmatch(file):
            if not folders or folders[-1] != table.split:
                continue
            folders.pop()
        above = [folder for folder in folders if folder not in ("data", "default")]
        if table.config == "*" or above == ([table.config] if table.config else []):
            found.append(name)
    return found


def readers(benchmark: Benchmark, folder: Path) -> dict[Split, Reader]:
    """The splits that lie in a folder as parquet files; columns are checked at once.

    Raises:
        InputError: a file cannot be read, or a column is missing or of the wrong kind.
    """
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet") if path.is_file()]
    found: dict[Split, Reader] = {}
    for split, alternatives in benchmark.tables.items():
        for table in alternatives:
            if files := [folder / name for name in files_of(table, names)]:
                found[split] = _reader(benchmark, split, files, folder, names)
                break
    return found


def _reader(benchmark: Benchmark, split: Split, files: list[Path], folder: Path, names: list[str]) -> Reader:
    _check_complete(benchmark.name, files)
    for file in files:
        check_columns(benchmark.name, file, benchmark.columns)
    columns = (*benchmark.columns, *benchmark.optional)
    with_images = any(kind in ("image", "images") for kind in benchmark.columns.values())

    def records() -> Iterator[Record]:
        batch = WITH_IMAGES if with_images else WITHOUT_IMAGES
        return ({"row": row, **record} for row, record in enumerate(read(files, columns, batch)))

    rows = rows_of(records, lambda record: benchmark.example(record, split))
    table = benchmark.image_tables.get(split)
    if table is None:
        return Reader(rows)
    image_files = [folder / name for name in files_of(table, names)]
    if not image_files:
        raise InputError(
            f"Task {benchmark.name}: the {split} questions are in {folder}, but not their images; "
            f"download the folder {table.config} too."
        )
    _check_complete(benchmark.name, image_files)
    for file in image_files:
        check_columns(benchmark.name, file, benchmark.image_columns)

    def images() -> Iterator[tuple[str, bytes]]:
        for record in read(image_files, tuple(benchmark.image_columns), WITH_IMAGES):
            yield str(record["id"]), stored(record["image"]) or b""

    return Reader(rows, images)


def _check_complete(task: str, files: Sequence[Path]) -> None:
    """The numbers in `train-00000-of-00003.parquet` tell whether files are missing."""
    for folder in {file.parent for file in files}:
        here = [file for file in files if file.parent == folder]
        of = re.search(r"-of-(\d+)", here[0].name)
        if of and len(here) != int(of[1]):
            raise InputError(
                f"Task {task}: {folder} holds {len(here)} of the {int(of[1])} files that "
                f"{here[0].name} belongs to; the download is incomplete, run it again."
            )


def check_columns(task: str, file: Path, columns: Mapping[str, Kind]) -> None:
    """Compare a file's columns with what a task needs.

    Raises:
        InputError: naming task, file, the column found and the one expected.
    """
    schema = _open(file).schema_arrow
    for name, kind in columns.items():
        if name not in schema.names:
            raise InputError(
                f"Task {task}: {file} has no column '{name}' ({_WORDS[kind]}); it has "
                f"{', '.join(schema.names)}. It may be another data set, or a newer revision of it: "
                "prepare an older one with --revision."
            )
        found = schema.field(name).type
        if not _is(found, kind):
            raise InputError(
                f"Task {task}: in {file}, column '{name}' is {found}, but must be {_WORDS[kind]}. It may "
                "be another data set, or a newer revision of it: prepare an older one with --revision."
            )


def read(files: Sequence[Path], columns: Sequence[str], batch: int) -> Iterator[dict[str, Any]]:
    """Rows of the files in order, with those of the columns that exist.

    Raises:
        InputError: a file is damaged.
    """
    import pyarrow as pa

    for path in files:
        file = _open(path)
        wanted = [name for name in columns if name in file.schema_arrow.names]
        try:
            for part in file.iter_batches(batch, columns=wanted):
                yield from part.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged ({error}); download it again.") from None


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged or incomplete ({error}); download it again.") from None


def _is(type: pa.DataType, kind: Kind) -> bool:
    from pyarrow import types

    def text(type: pa.DataType) -> bool:
        return types.is_string(type) or types.is_large_string(type)

    def items(type: pa.DataType) -> pa.DataType | None:
        return type.value_type if types.is_list(type) or types.is_large_list(type) else None

    def image(type: pa.DataType) -> bool:
        binary = types.is_binary(type) or types.is_large_binary(type)
        return binary or (types.is_struct(type) and any(field.name == "bytes" for field in type))

    item = items(type)
    match kind:
        case "text":
            return text(type)
        case "texts":
            return text(type) or (item is not None and text(item))
        case "number":
            return types.is_integer(type)
        case "scalar":
            scalar = item if item is not None else type
            return text(scalar) or types.is_primitive(scalar)
        case "image":
            return image(type)
        case "images":
            return item is not None and image(item)
        case "any":
            return True
