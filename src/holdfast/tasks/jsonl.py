"""Your own data as a Task: JSONL files and the name of a scorer, with nothing to program.

A row is a JSON object with

    prompt     the question (text)
    answer     the reference answer (text)
    images     paths relative to the data file's folder: a list, or one path; may be left out
    choices    options of a multiple-choice question, shown below the prompt as A., B., ...
    id         unique within the file; without it, the split and the line number
    rationale  a short true reasoning, for the `reasoned` SFT target
    aliases    answers that are right but in another form
    references all accepted answers, for scorers that count them (`vqa`, `mmmu`)

Other fields are kept as `meta`. With a scorer of option letters, `answer` may be a letter or an option's
text; the reference is the letter.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NoReturn

from pydantic import Field, field_validator, model_validator

from holdfast import plugins
from holdfast.errors import InputError
from holdfast.settings import Settings
from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.imagecheck import size_of
from holdfast.tasks.pictures import BadImage
from holdfast.tasks.prompts import Style, render_target
from holdfast.tasks.scorers import FORMULAS, get_scorer
from holdfast.tasks.scoring import extract_answer
from holdfast.tasks.task import Split, Task

VERSION = 5  # raise when the same file gives other examples or scores
FIELDS = ("prompt", "answer", "images", "choices", "id", "rationale", "aliases", "references")
OF_LETTERS = ("choice", "options", "mmmu", "mmlu_pro")
OPTION_SCORERS = ("choice", "options", "yes_no", "pope")  # their answers are one of several options
_STYLES: tuple[Style, ...] = ("direct", "cot")
_LETTER = "it must be an option's letter (B), or one option's text in a row with choices"
_UNREADABLE = r"\boxed and unpaired braces"
_WANTED = {  # what a reference must be, for messages
    "number": "it must be a plain number such as 12, -0.5 or 1,200",
    "yes_no": "it must be yes or no",
    "pope": "it must be yes or no",
    "vqa": "it must be among the references",
    "mmmu": "it must be an option's letter (B), or among the references of an open question",
    **dict.fromkeys(("choice", "options", "mmlu_pro"), _LETTER),
}


class OwnData(Settings):
    """What every task of one's own says, wherever its rows lie."""

    scorer: str = "exact"
    chance: float | None = Field(None, ge=0, le=1)
    description: str = "own data"

    @field_validator("scorer")
    @classmethod
    def _known_scorer(cls, value: str) -> str:
        try:
            get_scorer(value)
        except InputError as error:
            raise ValueError(f"{str(error)[0].lower()}{str(error)[1:].rstrip('.')}") from None
        return value


class OwnTask(OwnData):
    """Where a task of one's own lies; at least one split."""

    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None

    @model_validator(mode="after")
    def _has_data(self) -> OwnTask:
        if not self.files():
            raise ValueError("needs at least one of train, validation, test: the path of a JSONL file")
        return self

    def files(self) -> dict[Split, Path]:
        """The splits that are there."""
        splits: dict[Split, Path | None] = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        return {split: path for split, path in splits.items() if path is not None}


def load_task(name: str, settings: OwnTask) -> Task:
    """A Task over JSONL files. The files are read once for sizes and fingerprint; rows are parsed on demand.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    files = {split: JsonlFile(path, split, settings.scorer) for split, path in settings.files().items()}
    digest = hashlib.sha256()
    for split, file in files.items():
        digest.update(f"{split}:{file.fingerprint};".encode())

    def load(split: Split, count: int | None) -> list[Example]:
        return files[split].examples(count)

    return Task(
        name=name,
        version=VERSION,
        description=settings.description,
        load=load,
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
        fingerprint: SHA-256 of the content, and of the size and the time of change of each picture it
            names (reading all pictures would take too long).
    """

    def __init__(self, path: Path, split: Split, scorer: str) -> None:
        self.path, self.split, self.scorer = path, split, scorer
        self.size = 0
        digest = hashlib.sha256()
        pictures: set[str] = set()
        try:
            with path.open("rb") as file:
                for line in file:
                    digest.update(line)
                    self.size += bool(line.strip())
                    pictures.update(_pictures(line))
        except OSError as error:
            reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            raise InputError(f"The {split} data file {path} {reason}.") from None
        for name in sorted(pictures):
            digest.update(_picture_facts(path.parent, name))
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
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if len(examples) == count:
                    break
                if line.strip():
                    row = _Line(self, number, line)
                    example = row.example(row.images())
                    if example.id in lines:
                        row.fail(
                            "id",
                            f"'{example.id}' is also the id of line {lines[example.id]}; make ids unique",
                        )
                    lines[example.id] = number
                    examples.append(example)
        return examples


class Row:
    """The fields of one row, checked one by one.

    Args:
        values: what the row says.
        scorer: of the task.
        id: of the row, if it says none.
        place: of the row, for messages.
    """

    def __init__(self, values: dict[str, Any], scorer: str, id: str, place: str = "") -> None:
        self.values, self.scorer, self.default_id, self.place = values, scorer, id, place

    def fail(self, field: str | None, problem: str) -> NoReturn:
        place = self.place + (f", field '{field}'" if field else "")
        raise InputError(f"{place}: {problem}.")

    def example(self, images: tuple[ImageSource, ...] = ()) -> Example:
        """The Example, with these images."""
        self._check_spelling()
        prompt, answer = self._text("prompt"), self._text("answer")
        choices = self._texts("choices")
        aliases = self._texts("aliases")
        if choices:
            if not 2 <= len(choices) <= len(ascii_uppercase):
                self.fail("choices", f"must hold 2 to {len(ascii_uppercase)} options, not {len(choices)}")
            if self.scorer in OF_LETTERS:
                answer = self._letter(answer, choices)
            options = (
                f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False)
            )
            prompt = "\n".join((prompt, *options))
        example = Example(
            id=self._id(),
            prompt=prompt,
            answer=answer,
            images=images,
            choices=choices,
            aliases=aliases,
            references=self._texts("references"),
            rationale=self._text("rationale", needed=False),
            meta={key: value for key, value in self.values.items() if key not in FIELDS},
        )
        self._check_reference(example)
        return example

    def _check_reference(self, example: Example) -> None:
        """The row's own answer, as SFT would write it, must be right; else no answer could ever be.

        Formulas and code of the user's are not tried: each would take a process.
        """
        if self.scorer in FORMULAS or plugins.is_reference(self.scorer):
            return
        for style in _STYLES:
            read = extract_answer(render_target(example, style, "answer"), style)
            score = 0.0 if read is None else get_scorer(self.scorer)(read, example)
            # Annotators may disagree, and the answer need not be their most frequent one.
            if score == 1 or (score > 0 and self.scorer == "vqa"):
                continue
            if read != example.answer.strip():
                self.fail("answer", f"'{example.answer}' is read back as '{read}'; leave out {_UNREADABLE}")
            wanted = _WANTED.get(self.scorer, "change it or the scorer")
            self.fail("answer", f"the scorer '{self.scorer}' finds '{example.answer}' itself wrong; {wanted}")

    def _check_spelling(self) -> None:
        """A field that nearly has a known name is a slip, not more data."""
        for key in self.values:
            close = difflib.get_close_matches(key, FIELDS, n=1, cutoff=0.8)
            if key not in FIELDS and close and close[0] not in self.values:
                self.fail(key, f"is not a known field; did you mean '{close[0]}'?")

    def _text(self, field: str, needed: bool = True) -> str:
        value = self.values.get(field)
        if value is None:
            if needed:
                self.fail(field, "is missing")
            return ""
        if not isinstance(value, str):
            hint = f'; write it in quotes: "{value}"' if isinstance(value, int | float) else ""
            self.fail(field, f"must be text, not {_kind(value)}{hint}")
        if needed and not value.strip():
            self.fail(field, "is empty")
        return value

    def _texts(self, field: str, one: bool = False) -> tuple[str, ...]:
        """A list of texts; with `one`, a single text will do."""
        value = self.values.get(field)
        if value is None:
            return ()
        if one and isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.fail(field, f"must be a list of texts, not {_kind(value)}")
        for position, item in enumerate(value, start=1):
            if not isinstance(item, str):
                self.fail(field, f"must hold texts only; number {position} is {_kind(item)}")
            if not item.strip():
                self.fail(field, f"must hold no empty text; number {position} is empty")
        return tuple(value)

    def _id(self) -> str:
        value = self.values.get("id")
        if value is None:
            return self.default_id
        if isinstance(value, bool) or not isinstance(value, str | int):
            self.fail("id", f"must be text or a whole number, not {_kind(value)}")
        return str(value)

    def _letter(self, answer: str, choices: tuple[str, ...]) -> str:
        """The letter of an answer that is given as a letter or as an option's text."""
        letters = ascii_uppercase[: len(choices)]
        letter = answer.strip().upper()
        if len(letter) == 1 and letter in letters:
            same = [other for other, choice in zip(letters, choices, strict=True) if choice == answer.strip()]
            if same and letter not in same:
                self.fail(
                    "answer",
                    f"'{answer}' is the letter of option {letter} and the text of option {same[0]}; "
                    "change the options' texts, so that only one can be meant",
                )
            return letter
        if choices.count(answer) == 1:
            return letters[choices.index(answer)]
        self.fail(
            "answer", f"'{answer}' is neither a letter {letters[0]} to {letters[-1]} nor one of the choices"
        )


class _Line(Row):
    """One line of a file."""

    def __init__(self, file: JsonlFile, number: int, line: bytes) -> None:
        super().__init__({}, file.scorer, f"{file.split}-{number}", f"{file.path}, line {number}")
        self.folder = file.path.parent.resolve()
        try:
            value = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError:
            self.fail(None, "is not UTF-8 text; save the file as UTF-8")
        except json.JSONDecodeError as error:
            self.fail(None, f"is broken JSON: {error.msg} at column {error.colno}")
        if not isinstance(value, dict):
            self.fail(None, f"must be a JSON object with prompt and answer, not {_kind(value)}")
        self.values = value

    def images(self) -> tuple[Path, ...]:
        return tuple(self._image(path) for path in self._texts("images", one=True))

    def _image(self, path: str) -> Path:
        folder = self.folder
        if "://" in path:
            self.fail(
                "images", f"'{path}' is an address; nothing is fetched: save the picture inside {folder}"
            )
        try:
            full = (folder / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a NUL character, a loop of links
            self.fail("images", f"'{path}' is no usable path ({error})")
        if not full.is_relative_to(folder):
            self.fail(
                "images", f"'{path}' leads out of the data file's folder; put the picture inside {folder}"
            )
        if not full.is_file():
            self.fail("images", f"the picture '{path}' is missing (looked for {full})")
        try:
            size_of(full.read_bytes())
        except (BadImage, OSError) as error:
            self.fail("images", f"the picture '{path}' cannot be read ({error}); replace the file")
        return full


def _pictures(line: bytes) -> list[str]:
    """The pictures that a line names; what is wrong with a line is said when its row is wanted."""
    if b'"images"' not in line:
        return []
    try:
        value = json.loads(line.decode("utf-8-sig"))["images"]
    except (ValueError, LookupError, TypeError):
        return []
    return [name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)]


def _picture_facts(folder: Path, name: str) -> bytes:
    """What tells whether a picture has changed: its name, size and time of change."""
    try:
        facts = (folder / name).stat()
    except (OSError, ValueError):  # missing; a NUL character
        return json.dumps([name]).encode()
    return json.dumps([name, facts.st_size, facts.st_mtime_ns]).encode()


_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    return _KINDS[type(value)]
