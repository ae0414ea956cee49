"""What a published data set is to Holdfast: where its rows come from and how one becomes an Example."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from string import ascii_uppercase
from typing import Any, Literal

from holdfast.tasks.example import Example, LazyImage
from holdfast.tasks.task import Split

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."

Kind = Literal["text", "texts", "number", "scalar", "image", "images", "any"]
Record = Mapping[str, Any]


class BadRow(Exception):
    """A row that cannot be used, and why; preparing counts and reports such rows."""


@dataclass(frozen=True)
class Table:
    """Parquet files of one split, as the hub stores them.

    Attributes:
        split: how the files' names begin (`validation-00000-of-00002.parquet`), or their folder.
        config: folder above; "" for a set with one config, "*" for any folder.
    """

    split: str
    config: str = ""


@dataclass(frozen=True)
class Reader:
    """One split of a local folder in a release's own layout.

    Attributes:
        rows: gives a fresh iterator over Examples; None stands for a row that is not part of the
            task, a `BadRow` in its place for one that cannot be used.
        images: where rows name images that are stored in a table of their own (`Keyed`): iterates
            over (key, bytes).
    """

    rows: Callable[[], Iterator[Example | BadRow | None]]
    images: Callable[[], Iterator[tuple[str, bytes]]] | None = None


@dataclass(frozen=True)
class Keyed(LazyImage):
    """An image that a row names and another table holds; resolved while preparing."""

    key: str

    def read(self) -> bytes:
        raise NotImplementedError("its table has not been joined")


@dataclass(frozen=True)
class Benchmark:
    """A published data set.

    Attributes:
        name: as it stands in a config.
        version: raised when its examples change.
        description: one line.
        licence: what the releases say, conflicts included.
        hub: ids on the Hugging Face hub, tried in order.
        tables: per split the tables that may hold it, the first one found counts.
        columns: what those tables must have.
        example: makes an Example from a row; None for one that is not part of the task. Raises
            BadRow.
        scorer: the official rule; `study` is the study's, for every task.
        chance: accuracy of guessing without the image.
        options: as a Task's.
        sizes: published number of rows, after leaving out what is not part of the task.
        official: splits of a local folder in the official release's layout; empty if it is not.
        layout: the files of that layout, for messages.
        image_tables: tables that rows name images of.
        image_columns: what those must have.
        optional: columns that are read where they exist.
    """

    name: str
    version: int
    description: str
    licence: str
    hub: tuple[str, ...]
    tables: Mapping[Split, tuple[Table, ...]]
    columns: Mapping[str, Kind]
    example: Callable[[Record, Split], Example | None]
    scorer: str
    chance: float | None
    sizes: Mapping[Split, int]
    official: Callable[[Path], Mapping[Split, Reader]] = lambda folder: {}
    layout: str = ""
    options: bool = False
    optional: tuple[str, ...] = ()
    image_tables: Mapping[Split, Table] = field(default_factory=dict)
    image_columns: Mapping[str, Kind] = field(default_factory=dict)


def rows_of(
    records: Callable[[], Iterator[Record]], example: Callable[[Record], Example | None]
) -> Callable[[], Iterator[Example | BadRow | None]]:
    """The Examples of records; a record that cannot be used gives the BadRow it raised."""

    def rows() -> Iterator[Example | BadRow | None]:
        for record in records():
            try:
                yield example(record)
            except BadRow as bad:
                yield bad
            except KeyError as missing:
                yield BadRow(f"no field {missing}")

    return rows


def with_fields(row: Any, /, **more: Any) -> Record:
    """A row of a JSON file with more fields; one that is no object has those alone, and lacks the others."""
    return {**more, **row} if isinstance(row, Mapping) else more


def lettered(choices: Sequence[str], form: str = "{letter}. {choice}") -> str:
    """Options as lines."""
    return "\n".join(
        form.format(letter=letter, choice=choice)
        for letter, choice in zip(ascii_uppercase, choices, strict=False)
    )


def letter_at(index: Any, choices: Sequence[str]) -> str:
    """The letter of a 0-based index.

    Raises:
        BadRow: it is no index of these choices.
    """
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(choices):
        raise BadRow(f"answer {index!r} is no index of {len(choices)} choices")
    return ascii_uppercase[index]


def text(value: Any, name: str) -> str:
    """A text that must be there.

    Raises:
        BadRow: it is not text, or blank.
    """
    if not isinstance(value, str):
        raise BadRow(f"{name} is {type(value).__name__}, not text")
    if not value.strip():
        raise BadRow(f"{name} is empty")
    return value.strip()


def answer_texts(value: Any) -> tuple[str, ...]:
    """Accepted answers of a value that may be a text, number, truth value or list of them.

    Raises:
        BadRow: there is none.
    """
    values = value if isinstance(value, list | tuple) else [value]
    found: list[str] = []
    for item in values:
        if isinstance(item, bool):
            found.append("yes" if item else "no")
        elif isinstance(item, str | int | float) and str(item).strip():
            found.append(str(item).strip())
    if not found:
        raise BadRow("no answer")
    return tuple(found)


def answer_list(value: Any) -> tuple[str, ...]:
    """The annotators' answers, one each; blank ones are left out.

    Raises:
        BadRow: they are no list, or all blank.
    """
    if not isinstance(value, list | tuple):
        raise BadRow(f"answers is {type(value).__name__}, not a list")
    return answer_texts(value)


def text_list(value: Any, name: str) -> tuple[str, ...]:
    """A list of texts, also one written as a Python list in a text (`"['$6', '$7']"`).

    Raises:
        BadRow: it is neither, or holds something else than texts and numbers.
    """
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise BadRow(f"{name} is no list") from None
    if not isinstance(value, list | tuple):
        raise BadRow(f"{name} is {type(value).__name__}, not a list")
    for item in value:
        if not isinstance(item, str | int | float):
            raise BadRow(f"{name} holds {type(item).__name__}, not text")
    return tuple(str(item) for item in value)


def stored(value: Any) -> bytes | None:
    """The bytes of a hub image (`{"bytes": …, "path": …}`), None where there is none.

    Raises:
        BadRow: there is one, but elsewhere.
    """
    if isinstance(value, Mapping):
        if value.get("path") and not value.get("bytes"):
            raise BadRow(f"the image {value['path']!r} is named, but not in the file")
        value = value.get("bytes")
    return value or None


def image_of(value: Any) -> tuple[bytes, ...]:
    """The one image of a row.

    Raises:
        BadRow: it has none.
    """
    data = stored(value)
    if data is None:
        raise BadRow("no image")
    return (data,)


def inside(folder: Path, name: Any) -> Path:
    """`folder/name`, where the name may not lead out of the folder.

    Raises:
        BadRow: it does, or is no text.
    """
    path = PurePosixPath(text(name, "image name"))
    if path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise BadRow(f"the image path '{path}' leads out of the data folder")
    return folder / path


def without_markers(prompt: str, images: int) -> str:
    """A prompt without its `<image>` markers, which must be as many as its images (or none).

    Raises:
        BadRow: they are not.
    """
    count = prompt.count("<image>")
    if count not in (0, images):
        raise BadRow(f"{count} <image> markers for {images} images")
    return prompt.replace("<image>", "").strip()


def first_folder(folder: Path, *names: str) -> Path:
    """The first of these folders that exists, else the first name."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])


def first_file(folder: Path, *patterns: str) -> Path | None:
    """The first file that matches one of the patterns, in their order."""
    for pattern in patterns:
        if found := sorted(path for path in folder.glob(pattern) if path.is_file()):
            return found[0]
    return None
