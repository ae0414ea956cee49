"""Short answers in words: GQA, yes/no questions (POPE), PathVQA and Super-CLEVR.

What an answer to a yes/no question decides: `decisions.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from holdfast.tasks.numerals import plain_typography
from holdfast.tasks.scorers import vqa
from holdfast.tasks.scorers.decisions import BARE_NO, BETWEEN, LEAD, YES, declines, pope_decision, yes_or_no
from holdfast.tasks.scorers.text import NUMBER_WORDS, labelled_part, words

# Super-CLEVR's counts, values and attributes.
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_COUNTS = NUMBER_WORDS | {word: f"{ten}0" for ten, word in enumerate(_TENS, start=3)}
_COUNTS |= {"dozen": "12", "hundred": "100", "thousand": "1000", "million": "1000000", "half": "1/2"}
_SAME_WORD = {"grey": "gray", "none": "0", "nothing": "0", "nil": "0"}
_NOT_ANY = re.compile(
    r"(?:there (?:are|is)(?:n't| not) any|(?:i|we) (?:do not|don't|can not|cannot|can't) see any|not any)\b"
)
_NO_THING = re.compile(r"\s*no \w", re.IGNORECASE)
_LEAD_IN = re.compile(  # "There are", "The bicycle is"
    r"^(?:(?:it|they|there|this|that|these|those|\w+(?: \w+){0,11}?) (?:is|are)|(?:it|that|there)'s|they're)"
    r" (?=\S)"
)
_OF_AN_ATTRIBUTE = re.compile(  # "brown in color", "made of metal"
    r"(?: (?:in )?(?:colou?r|size|material)|\bcolou?red ?)\Z"
    r"|\A(?:both|colou?red|colou?r|size|material|made (?:out )?of) "
)
_IN_A_LIST = re.compile(r"(?<=[^\W\d]) ?[,;&/+] ?(?:and )?(?=[^\W\d])")
_WHOLE = re.compile(r"0*(\d+)(?:\.0+)?")
_RATIO = re.compile(r"(?<=\d) ?(?::|\bto\b) ?(?=\d)")

# What makes another quantity of a number.
_NUMERAL = rf"(?:\d|(?:{'|'.join(_COUNTS)})\b)"
_ABOUT = (  # "over 2", "twice two"; "isn't 2", "-2"; "2 or more"
    r"\b(?:over|under|up to|(?:more|less|fewer) than|at (?:least|most)|almost|nearly|neither|half of) \S"
    r"|\b(?:above|below|beyond|(?:greater|larger|smaller|higher|lower|other) than|hardly|never|twice|double"
    rf"|triple|minus|negative|except|(?:any(?:thing|(?: \w{{1,10}})?)|all) but) {_NUMERAL}"
    r"|(?:\b(?:can)?not|n't) (?!(?:see )?any\b)\S|(?<![\w.])[-.]\d"
    r"|\b(?:(?:or|and) (?:more|less|fewer|counting)|or (?:no|none|zero))\b"
)
_SIGNS = r"[<>≤≥≠±√∛%‰^¼-¾⅐-⅞]|\d ?\+(?!\S)"  # "> 2", "2%", "2+"
_MULTIPLES = (  # "2nd", "2k", "x2"; "2 pairs"; "thirds"
    r"\d[a-z]|\b[a-z]\d|\bnon-?zero\b"
    r"|\b(?:percent|times|squared|cubed|quarter|dozen|pair|couple|billion|trillion)s?\b"
    r"|\b(?:third|halve|fourth|fifth|ten|hundred|thousand|million)s\b"
)
_OTHER_QUANTITY = re.compile("|".join((_ABOUT, _SIGNS, _MULTIPLES)))


def yes_no(answer: str, reference: str) -> float:
    """The same decision."""
    decision = yes_or_no(answer)
    return float(decision is not None and decision == yes_or_no(reference))


def pope(answer: str, reference: str) -> float:
    """The same decision, by POPE's own script."""
    return float(pope_decision(answer) == reference.strip().lower())


def gqa(answer: str, reference: str) -> float:
    """GQA's exact match, blind to case, punctuation and articles."""
    return float(_plain(answer) == _plain(reference))


def pathvqa(answer: str, reference: str) -> float:
    """A yes/no or true/false question by its decision, any other by equality after the VQA normaliser."""
    if is_closed(reference):
        return yes_no(answer, reference)
    given, wanted = (text.replace("’", "'") for text in (labelled_part(answer), reference))
    return float(vqa.normalise(given) == vqa.normalise(wanted))


def is_closed(reference: str) -> bool:
    """Whether a question of PathVQA is answered with yes or no."""
    return reference.strip(" .\n").lower() in ("yes", "no", "true", "false")


def token_f1(answer: str, reference: str) -> float:
    """F1 of the two answers' words, as sets with counts (PathVQA's second measure of open answers)."""
    given, wanted = Counter(words(labelled_part(answer))), Counter(words(reference))
    shared = (given & wanted).total()
    if not shared:
        return 0.0
    precision, recall = shared / given.total(), shared / wanted.total()
    return 2 * precision * recall / (precision + recall)


def superclevr(answer: str, reference: str) -> float:
    """The same truth value, number or attribute, in whatever words.

    True is yes, number words are numbers, none and `no objects` are 0, 3.0 is 3, grey is gray, `The
    bicycle is blue and brown` is `brown, blue`; a number may bring its noun (`3 apples`).
    """
    wanted = _clevr(reference)
    if wanted in (("yes",), ("no",)):
        return float((yes_or_no(answer),) == wanted)
    said = plain_typography(labelled_part(answer))
    counted = len(wanted) == 1 and wanted[0].isdecimal()
    low = said.casefold().replace("’", "'")
    if counted and (_OTHER_QUANTITY.search(low) or _decides_too(words(low))):
        return 0.0
    if wanted == ("0",) and declines(low):  # which says no number
        return 0.0
    if _clevr(said) == wanted:
        return 1.0
    if counted:
        return float((_numbers(_clevr(said)) or _numbers(tuple(map(_clevr_word, words(said))))) == [*wanted])
    return 0.0


def _decides_too(said: list[str]) -> bool:
    """Whether an answer is a number and yes or no, and nothing else: `2, yes`."""
    telling = set(said) - LEAD - BETWEEN
    rest = telling - YES - BARE_NO
    return bool(rest) and rest != telling and all(_clevr_word(word)[0].isdigit() for word in rest)


def _numbers(said: tuple[str, ...]) -> list[str]:
    """The numbers of an answer; one that is said twice at once, `two (2)`, is one."""
    return [word for before, word in pairwise(("", *said)) if word[0].isdigit() and word != before]


def _plain(text: str) -> str:
    return " ".join(words(labelled_part(text)))


def _clevr(text: str) -> tuple[str, ...]:
    """Words of an answer in a form that does not depend on how it was put."""
    plain = " ".join(words(_IN_A_LIST.sub(" and ", ", ".join(_RATIO.sub(":", text).split("\n")))))
    if _NOT_ANY.match(plain):
        return ("0",)
    if _NO_THING.match(text) and (noun := _LEAD_IN.match(plain)):  # "no objects are visible"
        plain = noun[0]
    plain = _OF_AN_ATTRIBUTE.sub("", _LEAD_IN.sub("", plain) or plain)
    kept = [_clevr_word(word) for word in plain.split()]
    if kept[0:1] == ["no"] and {*kept[1:2]} - {"yes", "no"}:  # "no objects"
        kept[0] = "0"
    if "and" in kept:  # a list has no order
        parts = sorted(" ".join(kept).split(" and "))
        return tuple(" and ".join(parts).split())
    return tuple(kept)


def _clevr_word(word: str) -> str:
    if whole := _WHOLE.fullmatch(word):
        return whole[1]
    return {"true": "yes", "false": "no"}.get(word) or _COUNTS.get(word) or _SAME_WORD.get(word, word)
