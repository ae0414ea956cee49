"""From a response to numbers: extract the answer, score it (0..1), check the format."""

from __future__ import annotations

import re
import unicodedata

from holdfast.tasks.numerals import UNSEEN, read_number
from holdfast.tasks.prompts import Style

EXTRACTION_VERSION = 2  # raise when another part of a response is its answer
THOUGHT, END_OF_THOUGHT = "<think>", "</think>"
BOX = r"\boxed{"
LARGEST_COUNT = 2.0**53  # up to here whole numbers that differ by one are two numbers
RIGHT = 0.5  # a soft score counts as right from here on


def extract_answer(response: str, style: Style) -> str | None:
    r"""The answer of a response: the last `\boxed{…}` under `cot`, what follows the thought under `direct`.

    Braces inside the box may nest. A response under `direct` that boxes its answer is taken at its box;
    one with nothing but a thought is read as under `cot`. None when there is no answer.
    """
    place = answer_place(response, style)
    return None if place is None else response[slice(*place)].strip()


def answer_place(response: str, style: Style) -> tuple[int, int] | None:
    """Where the answer of a response begins and ends, white space around it included; None without one."""
    said = _after_thought(response) if style == "direct" else (0, 0)
    text = response[slice(*said)]
    if text.strip() and BOX not in text:
        return said
    first, last = said if text.strip() else (0, len(response))
    place = _last_box(response[first:last])
    return None if place is None else (first + place[0], first + place[1])


def _after_thought(response: str) -> tuple[int, int]:
    """Where a response speaks besides its reasoning; one may begin within it, or never leave it."""
    first = response.rfind(END_OF_THOUGHT)
    first = 0 if first < 0 else first + len(END_OF_THOUGHT)
    last = response.find(THOUGHT, first)
    return first, len(response) if last < 0 else last


def last_box(text: str) -> str | None:
    r"""What stands in the last `\boxed{…}`; None when there is no box, or it is empty or never closes."""
    place = _last_box(text)
    return None if place is None else text[slice(*place)].strip()


def _last_box(text: str) -> tuple[int, int] | None:
    """Where what stands in the last box begins and ends."""
    start = text.rfind(BOX)
    if start < 0:
        return None
    first, depth = start + len(BOX), 1
    for position in range(first, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return (first, position) if text[first:position].strip() else None
    return None


def format_score(response: str, style: Style, opened: bool = False) -> float:
    r"""1.0 when the response has the form its prompt style asks for, else 0.0.

    Under `cot` that is `<think>…</think>…\boxed{…}`. With `opened` the prompt ends in `<think>` (or that
    is not known), and a response without the tag goes on from there.
    """
    if style == "direct":
        return 1.0
    begins = response.lstrip().startswith(THOUGHT) or (opened and THOUGHT not in response)
    _, closed, rest = response.partition(END_OF_THOUGHT)
    _, boxed, rest = rest.partition(BOX)
    return float(bool(begins and closed and boxed and "}" in rest))


def normalise(text: str) -> str:
    """Lower case, one kind of white space, nothing unseen, no full stop at the end."""
    text = unicodedata.normalize("NFKC", text.translate(UNSEEN)).casefold()
    return " ".join(text.split()).rstrip(".").strip()


def exact(answer: str, reference: str) -> float:
    """Equal after `normalise`."""
    return float(normalise(answer) == normalise(reference))


def choice(answer: str, reference: str) -> float:
    """The same option letter: `B`, `(B)`, `b.`, `B) red` and a line `B` choose B; `A dog` chooses nothing."""
    line, _, _ = answer.strip().partition("\n")
    found = re.match(r"\(?([a-z])(?=$|[).:,。、])", normalise(line))
    return float(found is not None and found[1] == normalise(reference).strip("()"))


def number(answer: str, reference: str) -> float:
    r"""The same number, however it is written (`1,200`, `3,5`, `1e3`, `45\%`).

    Fractions are equal within 1e-6 (relative). A reference with a unit may be answered without it, but not
    in another one.
    """
    given, wanted = read_number(answer), read_number(reference)
    if given is None or wanted is None:
        return 0.0
    (ours, unit), (theirs, expected) = given, wanted
    same_unit = not unit or _squeezed(unit) == _squeezed(expected)
    counts = ours.is_integer() and theirs.is_integer() and max(abs(ours), abs(theirs)) < LARGEST_COUNT
    return float(same_unit and abs(ours - theirs) <= (0 if counts else 1e-6 * abs(theirs)))


def _squeezed(text: str) -> str:
    return re.sub(r"[\s^{}]", "", text).casefold()
