"""From a published row's columns to an Example's fields; what does not fit is a `BadRow`."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import ascii_uppercase
from typing import Any

from holdfast.errors import HoldfastError, reason, shortened
from holdfast.tasks.benchmarks.benchmark import BadRow
from holdfast.tasks.example import IMAGE_MARKER, ImageSource, LazyImage

_PLACE = re.compile(r"\s*(\d{1,4})(?:\.0{1,9})?\s*")
SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."


def lettered(choices: Sequence[str], form: str = "{letter}. {choice}") -> str:
    """Options as lines."""
    return "\n".join(
        form.format(letter=letter, choice=choice)
        for letter, choice in zip(ascii_uppercase, choices, strict=False)
    )


def letter_at(index: Any, choices: Sequence[str]) -> str:
    """The letter of a 0-based index, which may be text (in CSV).

    Raises:
        BadRow: it is no index of these choices, or they are more than there are letters.
    """
    if len(choices) > len(ascii_uppercase):
        raise BadRow(f"{len(choices)} choices are more than there are letters")
    if isinstance(index, str) and (number := _PLACE.fullmatch(index)):
        index = int(number[1])
    if isinstance(index, float) and index.is_integer():  # of a column that pandas kept, as some row has none
        index = int(index)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(choices):
        raise BadRow(f"answer {index!r} is no index of {len(choices)} choices, counted from 0")
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
    if not (found := tuple(filter(None, map(_answer_text, values)))):
        raise BadRow("no answer")
    return found


def _answer_text(value: Any) -> str:
    """A text, number or truth value as text; "" where there is none, also for NaN."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).strip() if isinstance(value, str | int | float) and value == value else ""


def answer_list(value: Any) -> tuple[str, ...]:
    """The annotators' answers, one each, also as objects with an `answer` (VQA v2); "" where one gave none.

    Raises:
        BadRow: they are no list, or all blank.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        value = text_list(value.strip(), "answers")
    if not isinstance(value, list | tuple):
        raise BadRow(f"answers is {type(value).__name__}, not a list")
    found = tuple(_answer_text(one.get("answer") if isinstance(one, Mapping) else one) for one in value)
    if not any(found):
        raise BadRow("no answer")
    return found


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


def choice_list(value: Any, name: str, needed: bool) -> tuple[str, ...]:
    """A row's choices: a list, an object of their letters, or one of texts and labels (ARC).

    Args:
        needed: else null is an open question.

    Raises:
        BadRow: it is something else.
    """
    if isinstance(value, Mapping):
        value = by_letters(value) if "text" not in value else value["text"]
    return () if value is None and not needed else text_list(value, name)


def by_letters(choices: Mapping[str, Any]) -> Any:
    """The values of an object whose keys are the first letters in order, but nulls behind; else itself."""
    texts = [*choices.values()]
    if not texts or [*choices] != [*ascii_uppercase[: len(texts)]]:
        return choices
    while texts and texts[-1] is None:  # a table has the same letters in all rows
        texts.pop()
    return texts


def stored(value: Any) -> ImageSource | None:
    """The image of a cell; None where there is none.

    Args:
        value: as the hub stores it (`{"bytes": …, "path": …}`), bytes, or an image in another table.

    Raises:
        BadRow: there is one, but elsewhere, or it is none of these.
    """
    if isinstance(value, Mapping):
        if value.get("path") and not value.get("bytes"):
            raise BadRow(f"the image {value['path']!r} is named, but not in the file")
        value = value.get("bytes")
    if value is not None and not isinstance(value, bytes | LazyImage):
        raise BadRow(f"image is {type(value).__name__}, not an image")
    return value or None


def images_of(*cells: Any) -> tuple[ImageSource, ...]:
    """The images of a row; cells without one are left out.

    Raises:
        BadRow: there is none.
    """
    images = tuple(image for cell in cells if (image := stored(cell)))
    if not images:
        raise BadRow("no image")
    return images


@dataclass(frozen=True)
class FolderImage(LazyImage):
    """An image file inside a folder, which no link may lead out of."""

    folder: Path
    name: str

    def __str__(self) -> str:
        return self.name

    def read(self) -> bytes:
        path, name = self.folder / self.name, shortened(self.name)
        try:
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise HoldfastError(f"{name} leads out of the data folder")
            if path.exists() and not path.is_file():  # a pipe would be waited for
                raise HoldfastError(f"{name} is no file")
            return path.read_bytes()
        except FileNotFoundError:
            raise HoldfastError(f"{name} is missing") from None
        except (OSError, RuntimeError) as error:  # a loop of links
            raise HoldfastError(f"{name} is unreadable ({reason(error)})") from None


def inside(folder: Path, name: Any) -> FolderImage:
    """The image `folder/name`.

    Raises:
        BadRow: the name leads out of the folder, or is no text.
    """
    path = PurePosixPath(text(name, "image name"))
    if path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise BadRow(f"the image path '{path}' leads out of the data folder")
    return FolderImage(folder, str(path))


def question_and_answer(turns: Any) -> tuple[Any, Any]:
    """What the first two turns of a conversation in LLaVA's form say.

    Raises:
        BadRow: they are not there.
    """
    if not isinstance(turns, list) or len(turns) < 2:
        raise BadRow("no question and answer")
    question, answer = (turn.get("value") if isinstance(turn, Mapping) else None for turn in turns[:2])
    return question, answer


def is_for_test(name: bytes, share: float) -> bool:
    """Whether a row of a set without splits is one to judge by, drawn by the hash of its name."""
    return int.from_bytes(hashlib.sha256(name).digest()[:6], "big") / 2**48 < share


def without_markers(prompt: str, images: int) -> str:
    """A prompt without its `<image>` markers, which must be as many as its images (or none).

    Raises:
        BadRow: they are not.
    """
    count = prompt.count(IMAGE_MARKER)
    if count not in (0, images):
        raise BadRow(f"{count} {IMAGE_MARKER} markers for {images} images")
    return prompt.replace(IMAGE_MARKER, "").strip()
