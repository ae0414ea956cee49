"""Answers of several parts (MRCL): values in order, sets of options; and boxes in a picture (CoIN)."""

from __future__ import annotations

import re

from holdfast.tasks.example import Example
from holdfast.tasks.numerals import plain_typography, read_number
from holdfast.tasks.scorers.mathematics import geometry
from holdfast.tasks.scorers.text import labelled_part

# Not those of names, such as x1.
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,2})?(?!\w)")
_BETWEEN = re.compile(r"[,;&/、，\s]+(?:and\b[,\s]*)?")
_AROUND = "()[]{}\\.'\" "
_NAMED = re.compile(r"\A(?:the )?(?:option|choice)s? (?=\(?[A-Z]\b)", re.IGNORECASE)
_LETTERS = re.compile(r"[A-Z]{2,}")
_NO_MATTER = str.maketrans("", "", "\\,; {}$")  # characters that the official script takes out
LEAST_OVERLAP = 0.5


def parts(answer: str, example: Example) -> float:
    """The share of the reference's parts, parted by semicolons, that stand in their place in the answer."""
    wanted, given = _split(example.answer), _split(labelled_part(answer))
    right = sum(_same(ours, theirs, example) for ours, theirs in zip(given, wanted, strict=False))
    return right / len(wanted) if wanted else 0.0


def option_set(answer: str, example: Example) -> float:
    """A set of options, parted by commas: all 1, some and no other 0.5. One option alone is a value."""
    given = labelled_part(answer)
    if "," not in example.answer:
        return float(_same(given, example.answer, example))
    theirs, ours = map(_options, (example.answer, given))
    return 0.0 if not ours else 1.0 if ours == theirs else 0.5 if ours < theirs else 0.0


def _options(text: str) -> set[str]:
    """The options that a text names; options that are words or numbers are parted by commas alone."""
    text = _NAMED.sub("", plain_typography(text))
    parts = [part.strip(_AROUND) for part in _BETWEEN.split(text.strip(_AROUND))]
    if len(parts) == 1 and _LETTERS.fullmatch(parts[0]):  # AC
        parts = [*parts[0]]
    if any(len(part) > 1 for part in parts):
        parts = [part.strip(_AROUND) for part in text.split(",")]
    return {part.casefold() for part in parts if part}


def box(answer: str, reference: str) -> float:
    """Whether two boxes `[left, top, right, bottom]` share more than half of what they cover together."""
    given, wanted = _box(labelled_part(answer)), _box(reference)
    if given is None or wanted is None:
        return 0.0
    shared = _area(
        max(given[0], wanted[0]), max(given[1], wanted[1]), min(given[2], wanted[2]), min(given[3], wanted[3])
    )
    covered = _area(*given) + _area(*wanted) - shared
    return float(covered > 0 and shared / covered > LEAST_OVERLAP)


def _same(given: str, wanted: str, example: Example) -> bool:
    if given.casefold().translate(_NO_MATTER) == wanted.casefold().translate(_NO_MATTER):
        return True
    tolerance = example.meta.get("tolerance")
    ours, theirs = read_number(given), read_number(wanted)
    if tolerance is not None and ours and theirs:
        return abs(ours[0] - theirs[0]) <= tolerance
    return geometry(given, wanted) == 1


def _split(text: str) -> list[str]:
    return [part.strip() for part in plain_typography(text).split(";") if part.strip()]


def _box(text: str) -> tuple[float, float, float, float] | None:
    numbers = [float(number) for number in _NUMBER.findall(plain_typography(text))]
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else None


def _area(left: float, top: float, right: float, bottom: float) -> float:
    return max(0.0, right - left) * max(0.0, bottom - top)
