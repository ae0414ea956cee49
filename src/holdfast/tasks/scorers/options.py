"""Option letters: which choice an answer picks (ScienceQA, MMMU, MMLU-Pro).

Nothing is ever guessed. Harnesses that draw a random option when they cannot read an answer hide
how often that happens; here such an answer is simply wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from holdfast.tasks.scorers.text import final_part, words

_ALONE = re.compile(r"[\s(\[{]*([A-Za-z])[\s)\]}.:,;!]*")
_LETTER_THEN_TEXT = re.compile(r"\s*(?:\(([A-Za-z])\)|([A-Za-z])\s*[.):])\s*\S")
# The reading "Answer: a dog" is not the option A: after a letter no other word may follow directly.
_SAID = re.compile(
    r"(?i:\b(?:answer|option|choice)\b\s*(?:is|:|=)?\s*(?:option\s+)?)\(?\[?([A-Z])\b(?![\w'’]|\s+[a-z])"
)
# At the very end a letter may be small: "the answer is: b".
_SAID_LAST = re.compile(r"(?i:\b(?:answer|option|choice)\b\s*(?:is)?\s*[:=]?\s*)\(?([A-Za-z])\)?\W*$")
_IN_BRACKETS = re.compile(r"\(([A-Z])\)")
# The article "A" and the pronoun "I" are words, not options: they stand before one in lower case.
_STANDALONE = re.compile(
    r"(?<![\w'’])(?:([B-HJ-Z])|([AI])(?!\s+(?!(?:or|and|is|because)\b)[a-z]|['’]))(?![\w'’])"
)


def option_letter(answer: str, choices: Sequence[str]) -> str | None:
    """The letter an answer picks, or None.

    In this order: the letter alone (`A`, `(a)`, `A.`), a letter before its text (`A. Ohio`), the
    text of exactly one option, a statement (`the answer is B`), the only letter in brackets, the
    only letter that stands alone.
    """
    text = final_part(answer)
    letters = ascii_uppercase[: len(choices) or 26]
    if found := _ALONE.fullmatch(text):
        return _among(found[1], letters)
    if (by_text := _by_text(text, choices)) is not None:
        return by_text
    if found := _LETTER_THEN_TEXT.match(text):
        return _among(found[1] or found[2], letters)
    if found := _SAID_LAST.search(text):
        return _among(found[1], letters)
    for pattern in (_SAID, _IN_BRACKETS, _STANDALONE):
        said = [letter for letter in _letters(pattern, text) if letter in letters]
        if pattern is _SAID and said:
            return said[-1]
        if len(set(said)) == 1:
            return said[0]
    return None


def mmlu_pro_letter(answer: str, choices: Sequence[str]) -> str | None:
    """As TIGER-AI-Lab/MMLU-Pro reads it: `answer is (X)`, `answer: X`, else the last letter alone.

    Without its random guess, and without taking "I" and "A" of a sentence for options.
    """
    text = final_part(answer)
    letters = ascii_uppercase[: len(choices) or 10]
    if found := _ALONE.fullmatch(text):
        return _among(found[1], letters)
    for pattern in (r"answer is \(?([A-J])\)?(?!\w)", r"[aA]nswer:\s*\(?([A-J])\)?(?!\w)"):
        if said := re.findall(pattern, text):
            return _among(said[-1], letters)
    if found := _SAID_LAST.search(text):
        return _among(found[1], letters)
    standing = [letter for letter in _letters(_STANDALONE, text) if letter in letters]
    return standing[-1] if standing else None


def mmmu_letter(answer: str, choices: Sequence[str]) -> str | None:
    """As MMMU's own parser reads it: `(A)`, else ` A `, else an option's text; the last one counts.

    Without its random guess; tags, boxes and emphasis go first, and the article "A" and the
    pronoun "I" of a sentence are no options.
    """
    text = " ".join(final_part(answer).split()).strip(",.!?;:' ")
    letters = ascii_uppercase[: len(choices) or 9]
    if found := _ALONE.fullmatch(text) or _SAID_LAST.search(text):
        return _among(found[1], letters)
    padded = f" {text} "
    places = {letter: padded.rfind(f"({letter})") for letter in letters}
    if max(places.values()) < 0:
        spaced = [(m.start(), m[1] or m[2]) for m in _STANDALONE.finditer(padded)]
        places = {letter: place for place, letter in spaced if letter in letters and padded[place - 1] == " "}
        places = {letter: place for letter, place in places.items() if padded[place + 1] in " .:),"}
    if (not places or max(places.values()) < 0) and len(text.split()) > 5:
        low = padded.lower()
        places = {
            letter: low.rfind(choice.lower()) if len(choice.strip()) > 1 else -1
            for letter, choice in zip(letters, choices, strict=False)
        }
    if not places or max(places.values()) < 0:
        return _by_text(text, choices)
    return max(places, key=lambda letter: places[letter])


def _letters(pattern: re.Pattern[str], text: str) -> list[str]:
    return [next(group for group in match.groups() if group) for match in pattern.finditer(text)]


def _among(letter: str, letters: str) -> str | None:
    return letter.upper() if letter.upper() in letters else None


def _by_text(text: str, choices: Sequence[str]) -> str | None:
    """The option whose text this is, if it is exactly one's."""
    wanted = words(text)
    same = [
        letter for letter, choice in zip(ascii_uppercase, choices, strict=False) if words(choice) == wanted
    ]
    return same[0] if wanted and len(same) == 1 else None
