"""Pictures of a page: shrunk, each stored once, and no more than a bounded number of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from PIL import Image

from holdfast.errors import HoldfastError
from holdfast.tasks.example import Example, ImageSource, open_image

MOST_PICTURES = 6000  # small ones; of photographs MOST_BYTES has room for some 900
MOST_BYTES = 9_000_000  # of all pictures of a page, as text
SIDE = 256  # pixels of a picture's longer side
SMALL = 96  # up to this side a picture keeps its every pixel

Examples = Callable[[str], Sequence[Example]]  # the test examples of a task


def thumbnail(source: ImageSource) -> str:
    """The picture as a `data:` address.

    Raises:
        HoldfastError: it cannot be read.
    """
    picture = open_image(source).copy()  # may be the task's own
    lossless = max(picture.size) <= SMALL
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, format="WEBP", lossless=lossless, quality=60, method=2)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


@dataclass
class Album:
    """The pictures of a page.

    Attributes:
        most: how many there may be; 0 takes none.
        pictures: as addresses, each once.
        left_out: items whose pictures found no place.
        unread: items whose pictures could not be read.
    """

    most: int = MOST_PICTURES
    pictures: list[str] = field(default_factory=list)
    left_out: int = 0
    unread: int = 0
    _known: dict[str, int] = field(default_factory=dict, init=False)  # number by address
    _bytes: int = field(default=0, init=False)

    def add(self, example: Example) -> list[int]:
        """The example's pictures by number; none where they find no place or cannot be read."""
        if not example.images or not self.most:
            return []
        if len(self.pictures) >= self.most or self._bytes >= MOST_BYTES:
            self.left_out += 1
            return []
        try:
            return [self._number(thumbnail(source)) for source in example.images]
        except HoldfastError:
            self.unread += 1
            return []

    def _number(self, address: str) -> int:
        if address not in self._known:
            self._known[address] = len(self.pictures)
            self.pictures.append(address)
            self._bytes += len(address)
        return self._known[address]


class Shelf:
    """The examples behind records, task by task; what is no longer at hand is not there."""

    def __init__(self, examples: Examples | None) -> None:
        self._examples = examples
        self._tasks: dict[str, Mapping[str, Example]] = {}

    def find(self, task: str, id: str) -> Example | None:
        """The example of an id."""
        if task not in self._tasks:
            self._tasks[task] = {}
            # Data may have been moved since the run: a report needs records alone.
            with suppress(HoldfastError, OSError):
                found = self._examples(task) if self._examples else ()
                self._tasks[task] = {example.id: example for example in found}
        return self._tasks[task].get(id)
