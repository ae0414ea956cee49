"""Tables that the `datasets` library reads: rows as plain values.

Nothing is decoded on the way: an image stays the bytes of its file, whatever type its column has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from holdfast.errors import InputError, reason, shortened
from holdfast.tasks.benchmarks.benchmark import Record
from holdfast.tasks.csvfile import problem_of_csv, repeated
from holdfast.tasks.jsontable import JsonTable, json_table

ROWS_AT_ONCE = 64  # some hold several images
JSON = "extension<arrow.json>"  # the arrow type of JSON's text
SHORT = {"float": np.float32, "halffloat": np.float16}  # whose 0.1 is 0.10000000149011612 among Python's


@cache
def library() -> Any:
    """`datasets`, without its bars and log lines; imported when a table is read."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    return datasets


def read_parquet(files: Sequence[Path], columns: Sequence[str]) -> Iterator[Record]:
    """Rows of parquet files in order, each with its number as `row`; columns that no file has are left out.

    Raises:
        InputError: a file is damaged, or lacks one of these columns that another has.
    """
    names = {file: columns_of(file) for file in files}
    present = [name for name in columns if any(name in of_file for of_file in names.values())]
    for name in present:  # `datasets` goes by the first file: what that lacks would be gone from all
        having = [file for file in files if name in names[file]]
        if lacking := [file for file in files if name not in names[file]]:
            raise InputError(
                f"{lacking[0]} has no column {name}, which {having[0].name} has; "
                "download all files of one release."
            )
    with said_if_damaged(files[0].parent):
        table = library().load_dataset(
            "parquet", data_files=list(map(str, files)), split="train", streaming=True, columns=present
        )
        for row, record in enumerate(plain_rows(table)):
            yield {"row": row, **record}


def column_names(place: str, table: Any) -> list[str]:
    """The columns of a table that `datasets` streams.

    Raises:
        InputError: it is damaged.
    """
    if isinstance(table, JsonTable):
        return table.names
    first = _first(place, table)
    return [] if first is None else list(first.column_names)


def _first(place: str, table: Any) -> Any:
    """The first rows as an arrow table; None where there are none."""
    with said_if_damaged(place):
        return next(iter(table.with_format("arrow").iter(ROWS_AT_ONCE)), None)


@contextmanager
def said_if_damaged(place: Path | str) -> Iterator[None]:
    """Raise errors of readers as an InputError of one line that names what is read."""
    import pyarrow as pa

    try:
        yield
    # TypeError: a column has another type in one file than in the others.
    except (pa.ArrowException, OSError, ValueError, TypeError, library().exceptions.DatasetsError) as error:
        for file in _tables_in(Path(place)):
            with suppress(pa.ArrowException, OSError, ValueError):
                if problem := problem_of_table(file):
                    raise InputError(f"{file} {problem}.") from None
        advice = "save it as UTF-8" if isinstance(error, UnicodeError) else "download it again"
        raise InputError(f"{place} is damaged or incomplete ({reason(error)}); {advice}.") from None


def _tables_in(place: Path) -> list[Path]:
    """The files under a folder, or the file, of which `problem_of_table` may know more."""
    return [file for file in (sorted(place.rglob("*")) if place.is_dir() else [place]) if file.is_file()]


def as_written(place: str, table: Any) -> dict[str, Any]:
    """What `load_dataset` needs besides to read CSV and JSON as they are written; nothing for another table.

    The types that it guesses make 7 of `007` in CSV, no value of the answers `None` and `NA`, and times of
    JSON's texts that look like dates.
    """
    if isinstance(table, JsonTable):
        return {}
    kind, features = table.info.builder_name, table.features
    if kind == "csv":  # its names are known once it was read in this way
        names = features or column_names(place, table)
        texts = dict.fromkeys(names, library().Value("string"))
        return {"features": library().Features(texts), "keep_default_na": False}
    if kind == "json" and hasattr(library(), "Json"):
        if not features and (first := _first(place, table)) is None:  # no rows, which is said elsewhere
            return {}
        schema = features.arrow_schema if features else first.schema
        guessed = library().Features.from_arrow_schema(schema)
        times = [name for name in guessed if "timestamp[" in str(schema.field(name).type)]
        if times:
            return {"features": library().Features(guessed | dict.fromkeys(times, library().Json()))}
    return {}


def json_as_written(loaded: Mapping[str, Any]) -> dict[str, JsonTable] | None:
    """The splits of a table on this disk whose files are JSON, each value as it is; None for another table.

    Args:
        loaded: what `load_dataset` would be given.
    """
    builder = library().load_dataset_builder(**{key: loaded[key] for key in loaded if key != "streaming"})
    if builder.info.builder_name != "json" or builder.config.field is not None:  # said by the folder's card
        return None
    files = builder.config.data_files
    tables = {split: table for split in files if (table := json_table([*map(Path, files[split])]))}
    return tables if len(tables) == len(files) else None


def check_card(folder: Path) -> None:
    """See that what a folder's README.md says of its tables names files in the folder alone.

    `datasets` would read others without a word, of which no change is noticed, and fetch addresses.

    Raises:
        InputError: it names others.
    """
    for card in (folder / "README.md", folder / ".huggingface.yaml"):
        if not card.is_file():
            continue
        text = card.read_text(encoding="utf-8", errors="replace")
        block = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---", text, re.DOTALL) if card.suffix == ".md" else None
        try:
            said = yaml.safe_load(block[1] if block else "" if card.suffix == ".md" else text)
        except (yaml.YAMLError, ValueError, RecursionError):
            continue  # `datasets` says what is wrong with it
        configs = said.get("configs") if isinstance(said, dict) else None
        for config in configs if isinstance(configs, list) else ():
            for path in _paths_of(config):
                if "://" in path or path.startswith(("/", "~")) or ".." in PurePosixPath(path).parts:
                    raise InputError(
                        f"{card} names the table {shortened(path)}, which lies outside the folder; put a "
                        "copy into it, and its name there"
                    )


def _paths_of(config: Any) -> Iterator[str]:
    """The files and folders that a configuration in a card names."""
    if not isinstance(config, dict):
        return
    files = config.get("data_files")
    each = list(files.values()) if isinstance(files, dict) else files if isinstance(files, list) else [files]
    for one in [config.get("data_dir"), *each]:
        path = one.get("path") if isinstance(one, dict) else one
        yield from (str(part) for part in (path if isinstance(path, list) else [path]) if part is not None)


def problem_of_table(file: Path) -> str | None:
    """What is wrong with a file that readers of tables would call damaged, or take for something else.

    Raises:
        OSError, ValueError, ArrowException: it is damaged.
    """
    if file.suffix == ".csv":
        return problem_of_csv(file)
    return repeated(batches_of(file)[0].names) if file.suffix in (".parquet", ".arrow") else None


def batches_of(file: Path, rows: int = ROWS_AT_ONCE) -> tuple[Any, Iterable[Any]]:
    """The schema of a parquet or Arrow file, with what `datasets` notes in it, and its rows, a few at a time.

    Raises:
        OSError, ArrowException: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        parquet = pq.ParquetFile(file)
        return parquet.schema_arrow, parquet.iter_batches(rows)
    mapped = pa.memory_map(str(file))
    try:
        arrow: Any = pa.ipc.open_stream(mapped)  # as `datasets` writes it
        return arrow.schema, arrow
    except pa.ArrowInvalid:
        arrow = pa.ipc.open_file(mapped)
        return arrow.schema, map(arrow.get_batch, range(arrow.num_record_batches))


def plain_rows(table: Any) -> Iterator[dict[str, Any]]:
    """Rows of a table as they are stored, with JSON text decoded (`_said`)."""
    if isinstance(table, JsonTable):
        yield from table
        return
    for batch in table.with_format("arrow").iter(ROWS_AT_ONCE):
        written = [field for field in batch.schema if JSON in str(field.type)]
        short = [(field.name, SHORT[str(field.type)]) for field in batch.schema if str(field.type) in SHORT]
        for row in batch.to_pylist():
            row |= {field.name: _said(row[field.name], field.type) for field in written}
            for name, kind in short:
                if row[name] is not None:
                    row[name] = float(str(kind(row[name])))
            yield row


def _said(value: Any, kind: Any) -> Any:
    """A value of an arrow type, with JSON text in it decoded to strings, lists and objects.

    A column of several types is stored as JSON text. Numbers and truth values stay text: a string that looks
    like one (`007`, `1.50`, `true`) is stored without its quotation marks.
    """
    if value is None:
        return None
    if str(kind) == JSON:
        try:
            said = json.loads(value)
        except ValueError:  # 007
            return value
        return said if isinstance(said, (str, list, dict)) else value
    if isinstance(value, dict):
        return {field.name: _said(value[field.name], field.type) for field in kind}
    return [_said(one, kind.value_type) for one in value] if isinstance(value, list) else value


def columns_of(file: Path) -> list[str]:
    """The columns of a parquet file.

    Raises:
        InputError: it is damaged.
    """
    with said_if_damaged(file):
        return list(batches_of(file)[0].names)


def row_count(file: Path) -> int:
    """How many rows a parquet file has.

    Raises:
        InputError: it is damaged.
    """
    import pyarrow.parquet as pq

    with said_if_damaged(file):
        return int(pq.read_metadata(file).num_rows)
