r"""MMMU's open questions: short texts and numbers, scored as the official `eval_open` does.

An answer counts when one of the accepted texts stands in it, or one of its numbers equals an
accepted number. A reference of one letter must stand alone: as a substring it would be in
nearly every answer. `.3`, `5 \times 10^3`, `10^3` and the minus sign of typesetting are read as what they
say, where the script finds 3, 5 and no sign.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.tasks.numerals import COMMA, closed_up, on_the_line, plain_typography, with_exponents
from holdfast.tasks.scorers.text import final_part

_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBER = re.compile(r"-?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?")
_APART = re.compile(r"(^|[=:] ?|\bis )- (?=[\d.])")  # a sign and its number
_THIN = re.compile(r"(?<=\d)(?:\\[,;: ]|~)(?=\d{3}(?!\d))")  # what sets thousands apart
_TEN = re.compile(r"(?<![\w.])10 ?\^ ?\{?(-?\d+)\}?")


def open_answer(answer: str, references: Sequence[str]) -> float:
    """1 if the answer gives one of the references."""
    candidates = _candidates(_plain(final_part(answer)))
    for reference in references:
        wanted = _plain(reference).strip().casefold().rstrip(".")
        number = _number(wanted)
        for candidate in candidates:
            if number is not None:
                if any(_number(found) == number for found in _NUMBER.findall(candidate)):
                    return 1.0
            elif wanted and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", candidate):
                return 1.0
    return 0.0


def _plain(text: str) -> str:
    text = _APART.sub(r"\1-", plain_typography(on_the_line(text)))
    text = closed_up(_THIN.sub(" ", COMMA.sub(",", text)))
    return _TEN.sub(r"1e\1", with_exponents(text))


def _candidates(text: str) -> list[str]:
    """The parts of a response that state its result: what follows a cue word in the last sentences."""
    text = text.casefold().strip()
    if len(text.split()) <= 5:
        return [text.rstrip(".")]
    sentences = re.split(r"\.\s(?=\S)|\n", text)
    found = []
    for position, sentence in enumerate(sentences):
        cues = [*_INDICATORS, "="] if position == len(sentences) - 1 else list(_INDICATORS)
        tails = [sentence.rpartition(cue)[2].strip() for cue in cues if cue in sentence]
        if tails:
            found.append(min(tails, key=len).rstrip("."))
    return [part for part in found if part] or [text]


def _number(text: str) -> float | None:
    """Rounded to two places, as the official script compares."""
    try:
        return round(float(text.replace(",", "")), 2)
    except ValueError:
        return None
