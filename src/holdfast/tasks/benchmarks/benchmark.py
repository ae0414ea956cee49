"""What a published data set is to Holdfast: where its rows come from and how one becomes an Example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast import files
from holdfast.errors import InputError
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split

Record = Mapping[str, Any]
NUMBER = ""  # the key of a row's number from 0 where its columns may have any name
Records = Callable[[], Iterator[Record]]  # the rows of a split, from the first one at each call


class BadRow(Exception):
    """A row that cannot be used, and why; preparing counts and reports such rows."""


@dataclass(frozen=True)
class Benchmark:
    """A published data set.

    Attributes:
        name: as it stands in a config.
        version: raised when its examples or its scoring change.
        description: one line.
        licence: what the releases say, conflicts included.
        hub: ids on the Hugging Face hub, tried in order.
        example: makes an Example from a row; None for one that is not part of the task. A row has its
            columns, and its number from 0 as `row`. Raises BadRow.
        scorer: the official rule; `study` is the study's, for every task.
        chance, options: as a Task's.
        tables: per split the parquet tables that may hold it, as `split` or `config/split` (`*` for
            any config); the first one found counts. Empty: it is no table on the hub.
        columns: what those tables must have.
        optional: columns that are read where they exist.
        sizes: published number of rows, after leaving out what is not part of the task.
        about: where none is published, about how many there are; for plans alone.
        pictures: per split a table of its own with `id` and `image`, where rows name images by
            `imageId` and hold none.
        official: splits of a folder with the official release, as rows that `example` takes; for sets
            that the hub does not have whole.
        layout: the files of that folder, for messages.
    """

    name: str
    version: int
    description: str
    licence: str
    hub: tuple[str, ...]
    example: Callable[[Record, Split], Example | None]
    scorer: str
    chance: float | None = None
    options: bool = False
    tables: Mapping[Split, tuple[str, ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    sizes: Mapping[Split, int] = field(default_factory=dict)
    about: Mapping[Split, int] = field(default_factory=dict)
    pictures: Mapping[Split, str] = field(default_factory=dict)
    official: Callable[[Path], Mapping[Split, Records]] | None = None
    layout: str = ""


def json_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of an official release's JSON array; what is no object is a row without columns.

    Raises:
        InputError: the file is no such array.
    """
    try:
        rows = files.parse_json(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{file} is broken or incomplete ({error}); download it again.") from None
    if not isinstance(rows, list):
        raise InputError(f"{file} holds no list; is it a file of another data set?")
    return (row if isinstance(row, dict) else {} for row in rows)
