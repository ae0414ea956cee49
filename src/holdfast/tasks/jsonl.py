"""Your own data as a Task: JSONL files and the name of a scorer, with nothing to program.

A row is a JSON object, a line of its own or an item of a JSON array, with

    prompt     the question (text)
    answer     the reference answer (text)
    images     paths relative to the data file's folder, data URLs or base64: a list, or one; may be left out
    choices    options of a multiple-choice question, shown below the prompt as A., B., ..., which their texts
               may begin with
    id         unique within the file; without it, the split and the line number
    rationale  a short true reasoning, for the `reasoned` SFT target
    aliases    answers that are right but in another form
    references all accepted answers, for scorers that count them (`vqa`, `mmmu`)

or in the shape of a chat (`chat.py`).

Where the prompt holds an `<image>` marker for each picture, the pictures stand there; else before the text.
Other fields are kept as `meta`, but one that seems to hold pictures or choices is asked about: an object
`meta` may hold what is not for the model, whatever it is called. With a scorer of option letters, `answer`
may be a letter or an option's text; the reference is the letter.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from holdfast import rng
from holdfast.errors import InputError
from holdfast.settings import Settings
from holdfast.tasks.chat import TURNS, as_row, is_chat
from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.fieldnames import COMMON_NAMES
from holdfast.tasks.imagecheck import look
from holdfast.tasks.jsontable import BEFORE, BadField, parse_row
from holdfast.tasks.picturefiles import inline, locate, look_at, names_one
from holdfast.tasks.pictures import BadImage
from holdfast.tasks.prompts import STYLES, Style
from holdfast.tasks.rows import RENAME, Row, kind_of
from holdfast.tasks.scorers import OPTION_SCORERS, get_scorer
from holdfast.tasks.task import SPLITS, Split, Task

VERSION = 7  # raise when the same file gives other examples or scores
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # escapes of which two make a character


class OwnData(Settings):
    """What every task of one's own says, wherever its rows lie."""

    scorer: str = "exact"  # the rule that grades answers: a name, or FILE.py:NAME (tasks.md)
    chance: float | None = Field(None, ge=0, le=1)  # accuracy of guessing without the picture, for the report
    description: str = "own data"  # a line for people

    @field_validator("scorer")
    @classmethod
    def _known_scorer(cls, value: str) -> str:
        try:
            get_scorer(value)
        except InputError as error:
            raise ValueError(f"{str(error)[0].lower()}{str(error)[1:].rstrip('.')}") from None
        return value

    def splits(self) -> dict[Split, Any]:
        """The splits that are there, and what is said of each: its file, or its name in a table."""
        return {split: said for split in SPLITS if (said := getattr(self, split)) is not None}


class OwnTask(OwnData):
    """Where a task of one's own lies; at least one split."""

    train: Path | None = None  # to learn from; relative to the experiment's file, like the others
    validation: Path | None = None  # to choose settings by
    test: Path | None = None  # to judge by
    shuffle: int | None = Field(None, ge=0)  # by this seed; None: as the rows stand

    @model_validator(mode="after")
    def _has_data(self) -> OwnTask:
        if not self.splits():
            raise ValueError("needs at least one of train, validation, test: the path of a JSONL file")
        return self


def load_task(name: str, settings: OwnTask, styles: Sequence[Style] = STYLES) -> Task:
    """A Task over JSONL files. The files are read once for sizes and fingerprint; rows are parsed on demand.

    Args:
        styles: the prompt styles in which every row's own answer must be right.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    files = {
        split: JsonlFile(path, split, settings.scorer, styles, settings.shuffle)
        for split, path in settings.splits().items()
    }
    digest = hashlib.sha256()
    for split, file in files.items():
        digest.update(f"{split}:{file.fingerprint};".encode())
    return Task(
        name=name,
        version=VERSION,
        description=settings.description,
        load=lambda split, count: files[split].examples(count),
        sizes={split: file.size for split, file in files.items()},
        scorer=settings.scorer,
        chance=settings.chance,
        options=settings.scorer in OPTION_SCORERS,
        source=digest.hexdigest(),
    )


class JsonlFile:
    """One split.

    Attributes:
        size: rows (blank lines do not count).
        fingerprint: SHA-256 of the content, and of that of each picture it names.
    """

    def __init__(
        self, path: Path, split: Split, scorer: str, styles: Sequence[Style], shuffle: int | None
    ) -> None:
        self.path, self.split, self.scorer, self.styles, self.shuffle = path, split, scorer, styles, shuffle
        self.folder = path.parent.resolve()
        self.size = 0
        digest = hashlib.sha256()
        pictures: set[str] = set()
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise InputError(f"The {split} data file {path} is no file.")
        try:
            self.is_array = _is_array(path)
            for _, line in self._rows():
                digest.update(line)
                self.size += bool(line.strip())
                pictures.update(_pictures(line))
        except OSError as error:
            reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            raise InputError(f"The {split} data file {path} {reason}.") from None
        there = {}
        for name in pictures:
            with suppress(BadImage):  # said when its row is wanted
                there[name] = locate(self.folder, name)
        found = look_at(there.values())
        for name in sorted(pictures):
            known = found[there[name]].sha256 if name in there else None
            digest.update(json.dumps([name, known]).encode())
        if shuffle is not None:
            digest.update(f"shuffle {shuffle}".encode())
        self.fingerprint = digest.hexdigest()
        self._parsed: list[Example] = []

    def examples(self, count: int | None) -> list[Example]:
        """The first `count` rows (all for None), each checked, its pictures too.

        Raises:
            InputError: naming file, line and field.
        """
        wanted = self.size if count is None else min(count, self.size)
        if len(self._parsed) < wanted:
            self._parsed = self._parse(wanted)
        return self._parsed[:wanted]

    def _parse(self, count: int) -> list[Example]:
        examples: list[Example] = []
        lines: dict[str, int] = {}
        for number, line in self._ordered():
            if len(examples) == count:
                break
            row = _Line(self, number, line)
            example = row.example(row.images())
            if example.id in lines:
                also = f"'{example.id}' is also the id of {self.word} {lines[example.id]}"
                row.fail("id", f"{also}; make ids unique")
            lines[example.id] = number
            examples.append(example)
        return examples

    @property
    def word(self) -> str:
        """What a row's number counts."""
        return "item" if self.is_array else "line"

    def _rows(self) -> Iterator[tuple[int, bytes]]:
        """The rows with their numbers from 1, blank lines among them."""
        if self.is_array:
            items = json.loads(self.path.read_bytes())
            yield from enumerate((json.dumps(item).encode() for item in items), start=1)
        else:
            with self.path.open("rb") as file:
                yield from enumerate(file, start=1)

    def _ordered(self) -> Iterator[tuple[int, bytes]]:
        """The rows that count, in the order in which they are taken."""
        rows = ((number, line) for number, line in self._rows() if line.strip())
        if self.shuffle is None:
            yield from rows
        else:
            shuffle = self.shuffle
            yield from sorted(rows, key=lambda row: rng.seed("rows", shuffle, row[0]))


def _is_array(path: Path) -> bool:
    """Whether a file is one JSON array of objects rather than a row a line.

    Raises:
        InputError: it is one object with its rows inside, or a row has a field twice.
    """
    check_outermost(path)
    with path.open("rb") as file:
        first = file.read(64).lstrip(BEFORE)[:1]
    if first != b"[":
        return False
    try:
        items = parse_row(path.read_bytes())
    except BadField as bad:
        if bad.field is not None:
            raise InputError(f"{path}: an item has the field '{bad.field}' twice; keep one.") from None
        if "at line " in str(bad):  # of an array over many lines
            raise InputError(f"{path}: {bad}.") from None
        return False  # a line says better what is wrong
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def check_outermost(path: Path) -> None:
    """See that a file is its rows, and no object, on one line or on many, that has them in a list.

    Raises:
        InputError: it is such an object; names the list.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not (first := file.readline()).lstrip(BEFORE).startswith(b"{"):
            return
        try:
            whole = parse_row(first)
        except BadField:
            if not first.rstrip().endswith((b"{", b"[", b",")):
                return  # a broken row, which ends here; what follows may be large
            try:
                whole = parse_row(first + file.read())
            except BadField:
                return
        if file.readline() or whole.keys() & {*TURNS, *COMMON_NAMES["prompt"]}:
            return
    for key, value in whole.items():
        if value and isinstance(value, list) and all(isinstance(item, dict) for item in value):
            raise InputError(f"{path}: its rows lie in the list '{key}'; save that list alone, as the file.")


class _Line(Row):
    """One line of a file."""

    def __init__(self, file: JsonlFile, number: int, line: bytes) -> None:
        place = f"{file.path}, {file.word} {number}"
        super().__init__({}, file.scorer, f"{file.split}-{number}", place, file.styles)
        self.folder = file.folder
        try:
            self.values = value = parse_row(line)
            if not isinstance(value, dict):
                self.fail(None, f"must be a JSON object with prompt and answer, not {kind_of(value)}")
            if _HALF.search(line):
                self._check_characters()
            if is_chat(value):
                self.values = as_row(value)
            elif "prompt" not in value and (field := next((name for name in TURNS if name in value), None)):
                self.fail(field, "must be a list of turns: objects with role and content, or from and value")
        except BadField as bad:
            self.fail(bad.field, str(bad))

    def _check_characters(self) -> None:
        for key, value in self.values.items():
            try:
                json.dumps([key, value], ensure_ascii=False).encode()
            except UnicodeEncodeError:
                shown = key.encode("ascii", "backslashreplace").decode()
                self.fail(shown, "holds half a character (\\ud800 to \\udfff alone); write it as UTF-8 text")

    def _check_spelling(self) -> None:
        super()._check_spelling()
        shown = self._texts("images", one=True)
        for key, value in self._others():
            for text in _texts_in(value):
                if text not in shown and names_one(self.folder, text):
                    self.fail(
                        key, f"names the picture '{text}', but pictures are read from 'images'; {RENAME}"
                    )

    def images(self) -> tuple[ImageSource, ...]:
        return tuple(self._image(name) for name in self._texts("images", one=True))

    def _image(self, name: str) -> Path | bytes:
        try:
            if (data := inline(name)) is not None:
                look(data)
                return data
            path = locate(self.folder, name)
        except BadImage as bad:
            self.fail("images", str(bad))
        if problem := look_at([path])[path].problem:
            self.fail("images", f"the picture '{name}' cannot be read ({problem}); replace the file")
        return path


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(inner)


def _pictures(line: bytes) -> list[str]:
    """The pictures that a line names; what is wrong with a line is said when its row is wanted."""
    if b'"image' not in line:
        return []
    try:
        row = parse_row(line)
        value = (as_row(row) if is_chat(row) else row)["images"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
    names = value if isinstance(value, list) else [value]
    return [name for name in names if isinstance(name, str) and not name.startswith("data:")]
