"""Short answers in words: GQA, yes/no questions (POPE), PathVQA and Super-CLEVR."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from holdfast.tasks.scorers import vqa
from holdfast.tasks.scorers.text import NUMBER_WORDS, final_part, words

_YES, _NO = {"yes", "true"}, {"no", "not", "false"}
_LEAD_IN = re.compile(r"^(?:it|they|there|this|that|these|those|\w+(?: \w+){0,4}?) (?:is|are) (?=\S)")
_SAME_WORD = {"grey": "gray"}


def yes_or_no(answer: str) -> Literal["yes", "no"] | None:
    """What an answer says, by the words of its first sentence; None when it says both or neither.

    POPE's own script reads everything without a "no" as yes; here what is neither is wrong.
    """
    text = final_part(answer)
    for part in (text.partition(".")[0], text):
        found = set(words(part))
        yes, no = bool(found & _YES), bool(found & _NO)
        if yes != no:
            return "yes" if yes else "no"
        if yes and no:
            return None
    return None


def yes_no(answer: str, reference: str) -> float:
    """The same decision."""
    return float(yes_or_no(answer) == reference.strip().lower())


def gqa(answer: str, reference: str) -> float:
    """GQA's exact match, blind to case, punctuation and articles."""
    return float(_plain(answer) == _plain(reference))


def pathvqa(answer: str, reference: str) -> float:
    """A yes/no question by its decision, any other by equality after the VQA normaliser."""
    if reference.strip().lower() in ("yes", "no"):
        return yes_no(answer, reference)
    return float(vqa.normalise(final_part(answer)) == vqa.normalise(reference))


def token_f1(answer: str, reference: str) -> float:
    """F1 of the two answers' words, as sets with counts (PathVQA's second measure of open answers)."""
    given, wanted = Counter(words(final_part(answer))), Counter(words(reference))
    shared = (given & wanted).total()
    if not shared:
        return 0.0
    precision, recall = shared / given.total(), shared / wanted.total()
    return 2 * precision * recall / (precision + recall)


def superclevr(answer: str, reference: str) -> float:
    """The same truth value, number or attribute, in whatever words.

    True is yes, number words are numbers, grey is gray, `The bicycle is blue and brown` is
    `brown and blue`; a number may bring its noun (`3 apples`).
    """
    wanted = _clevr(reference)
    if wanted in (("yes",), ("no",)):
        return float((yes_or_no(answer),) == wanted)
    given = _clevr(final_part(answer))
    if given == wanted:
        return 1.0
    if len(wanted) == 1 and wanted[0].isdecimal():
        return float([word for word in given if word[0].isdigit()] == list(wanted))
    return 0.0


def _plain(text: str) -> str:
    return " ".join(words(final_part(text)))


def _clevr(text: str) -> tuple[str, ...]:
    """Words of an answer in a form that does not depend on how it was put."""
    plain = " ".join(words(text))
    kept = [NUMBER_WORDS.get(word, _SAME_WORD.get(word, word)) for word in _LEAD_IN.sub("", plain).split()]
    kept = ["yes" if word == "true" else "no" if word == "false" else word for word in kept]
    if "and" in kept:  # a list has no order
        parts = sorted(" ".join(kept).split(" and "))
        return tuple(" and ".join(parts).split())
    return tuple(kept)
