"""One row of a task, and the pictures it shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from holdfast.errors import HoldfastError, shortened
from holdfast.files import state
from holdfast.tasks.pictures import as_seen, opened, upright_size

IMAGE_MARKER = "<image>"  # in a prompt: here stands an image


class LazyImage(ABC):
    """An image that lies somewhere else and is read when it is needed."""

    @abstractmethod
    def read(self) -> bytes:
        """The image file's bytes.

        Raises:
            HoldfastError: it is not there.
        """


ImageSource = Image.Image | Path | bytes | LazyImage


@dataclass(frozen=True)
class Example:
    """One row of a task.

    Attributes:
        id: unique within the task, the same in every run.
        prompt: the question, without the instruction that a prompt style adds. With an `<image>` marker for
            each of `images`, these stand where the markers do; without markers, before the text.
        answer: the reference answer in the form the task scores.
        images: what the prompt shows, in order; opened when they are needed.
        choices: the options of a multiple-choice question, in order (first is A).
        aliases: answers that are right but not in the required form. No reward and no score
            counts them; they tell a lost convention from lost knowledge.
        references: all accepted answers, one an annotator, where the task's rule looks at them.
        rationale: a short true reasoning, for the `reasoned` SFT target.
        meta: whatever else is known of it (a question's kind, say), for code that reads examples.
        place: where the row was read, for messages.
    """

    id: str
    prompt: str
    answer: str
    images: tuple[ImageSource, ...] = ()
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    rationale: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False)

    @property
    def named(self) -> str:
        """What messages call it."""
        name = shortened(self.id)
        return f"{name} ({self.place})" if self.place else name


def name_of(source: ImageSource) -> Hashable:
    """What a picture is remembered by, while the source itself is kept: another picture has another name."""
    if isinstance(source, Image.Image):
        return id(source)
    if isinstance(source, Path):
        with suppress(OSError):  # opening it says what is wrong
            return source, *state(source)
    return source


@contextmanager
def named(example: Example) -> Iterator[None]:
    """What goes wrong in the block with a picture of an example names the example."""
    try:
        yield
    except HoldfastError as error:
        raise HoldfastError(f"Example {example.named}: {error}") from None


def held_bytes(source: ImageSource) -> int:
    """Bytes of memory that keeping an image's source takes."""
    if isinstance(source, Image.Image):
        return 4 * source.width * source.height  # Pillow gives a pixel of RGB four bytes
    return len(source) if isinstance(source, bytes) else 0


def size_seen(source: ImageSource) -> tuple[int, int]:
    """The width and height of the picture as `open_image` gives it; nothing is decoded.

    Raises:
        HoldfastError: it is missing or no picture.
    """
    with _stored(source) as image:
        return upright_size(image)


def open_image(source: ImageSource) -> Image.Image:
    """The picture as upright RGB on white, whatever mode and orientation it is stored in (`as_seen`).

    Raises:
        HoldfastError: it is missing, cannot be read, or has greys outside the range of its format.
    """
    with _stored(source) as image:
        return as_seen(image)


@contextmanager
def _stored(source: ImageSource) -> Iterator[Image.Image]:
    """The picture as it is stored, not decoded yet; what goes wrong with it names where it lies."""
    if isinstance(source, LazyImage):
        source = source.read()
    try:
        with nullcontext(source) if isinstance(source, Image.Image) else opened(source) as image:
            yield image
    except FileNotFoundError:
        raise HoldfastError(f"The image {source!s} is missing.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise HoldfastError(f"The image {_where(source)} cannot be read: {error}.") from None


def _where(source: Image.Image | Path | bytes) -> str:
    """Where a picture lies, for messages."""
    if isinstance(source, bytes):
        return "in the row's own bytes"
    if isinstance(source, Image.Image):
        opened_from = str(getattr(source, "filename", ""))
        return opened_from or f"of {source.width} × {source.height} pixels that the task's code gave"
    return str(source)
