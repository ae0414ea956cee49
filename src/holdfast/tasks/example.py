"""One row of a task, and the pictures it shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from holdfast.errors import HoldfastError


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
        prompt: the question, without the instruction that a prompt style adds.
        answer: the reference answer in the form the task scores.
        images: what the prompt shows, in order; opened when they are needed.
        choices: the options of a multiple-choice question, in order (first is A).
        aliases: answers that are right but not in the required form. No reward and no score
            counts them; they tell a lost convention from lost knowledge.
        references: all accepted answers, one an annotator, where the task's rule looks at them.
        rationale: a short true reasoning, for the `reasoned` SFT target.
        meta: anything a report may group by (a question's kind, say).
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


def open_image(source: ImageSource) -> Image.Image:
    """The picture as upright RGB, whatever mode and orientation it is stored in.

    Raises:
        HoldfastError: it is missing or cannot be read.
    """
    if isinstance(source, Image.Image):
        return source if source.mode == "RGB" else source.convert("RGB")
    if isinstance(source, LazyImage):
        source = source.read()
    name = "in the row's own bytes" if isinstance(source, bytes) else str(source)
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # grey of 16 bits, which `convert` would clip to white
                upright = upright.convert("I").point(lambda value: value / 256).convert("L")
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright)
            return upright.convert("RGB")
    except FileNotFoundError:
        raise HoldfastError(f"The image {name} is missing.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise HoldfastError(f"The image {name} cannot be read: {error}.") from None
