"""Short answers in words: GQA, yes/no questions (POPE), PathVQA and Super-CLEVR."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from holdfast.tasks.scorers import vqa
from holdfast.tasks.scorers.text import NUMBER_WORDS, final_part, words

_YES = {"yes", "yeah", "yep", "true"}
_NO = {"no", "nope", "none", "not", "false", "cannot", "never", "neither"}
# Words before the one that decides: "The answer is yes", "Well, I think it is not".
_LEAD = {"so", "well", "therefore", "thus", "i", "think", "believe", "final", "correct", "answer", "is", "it"}
_EITHER = re.compile(r"(?:yes|true) ?(?:or|/) ?(?:no|false)|(?:no|false) ?(?:or|/) ?(?:yes|true)")
_NO_IDEA = re.compile(
    r"no (?:idea|clue|(?:image|picture|photo) (?:is|was|has been) (?:given|provided|attached))\b"
)
# No decision: what neither affirms nor denies.
_REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|unable|(?:not|n't) (?:sure|certain|clear|possible to|enough)|unsure|unclear"
    r"|(?:cannot|can't|could not|couldn't|do not|don't) "
    r"(?:answer|assist|confirm|determine|help|identify|judge|know|provide|say|tell|verify)"
    r"|see (?:the|any|an|your) (?:image|picture|photo))\b"
)
_LEAD_IN = re.compile(r"^(?:it|they|there|this|that|these|those|\w+(?: \w+){0,4}?) (?:is|are) (?=\S)")
_SAME_WORD = {"grey": "gray", "none": "0"}
_IN_A_LIST = re.compile(r"(?<=[^\W\d]) ?[,&] ?(?:and )?(?=[^\W\d])")
_WHOLE = re.compile(r"(\d+)\.0+")
Decision = Literal["yes", "no"]


def yes_or_no(answer: str) -> Decision | None:
    """What an answer says; None when it says neither.

    The first word decides (`Yes, and no other`), after a lead-in such as `The answer is`. Else a
    refusal is no answer; `There is a kite` and `I see a kite` say yes, `There isn't` and `I cannot
    see` no; and the words of the first sentence decide, then of all, unless they say both.
    """
    text = " ".join(final_part(answer).casefold().replace("’", "'").split())
    if _EITHER.match(text) or _NO_IDEA.match(text):
        return None
    start = next((word for word in words(text) if word not in _LEAD), "")
    if start in _YES:
        return "yes"
    if start in _NO - {"not", "cannot"}:  # "not sure", "cannot tell"
        return "no"
    if _REFUSAL.search(text):
        return None
    first = text.partition(".")[0]
    return _affirmed(words(first)) or _worded(words(first)) or _worded(words(text))


def _affirmed(sentence: list[str]) -> Decision | None:
    """Whether a thing is said to be there: `there is a kite`, `I can see a kite`."""
    if sentence[:1] == ["there's"] or sentence[:2] in (["there", "is"], ["there", "are"]):
        rest = sentence[1 if sentence[0] == "there's" else 2 :]
    elif sentence[:1] == ["i"] and "see" in sentence[1:3]:
        rest = sentence[1:]
    else:
        return None
    return "yes" if rest and not any(map(_denies, rest)) else None


def _worded(said: list[str]) -> Decision | None:
    yes, no = not _YES.isdisjoint(said), any(map(_denies, said))
    return None if yes == no else "yes" if yes else "no"


def _denies(word: str) -> bool:
    return word in _NO or word.endswith("n't")


def pope_decision(answer: str) -> Decision:
    """As POPE's own script reads it: `no` or `not` before the first full stop is no, anything else yes."""
    said = final_part(answer).partition(".")[0].replace(",", "").split(" ")
    return "yes" if {"No", "not", "no"}.isdisjoint(said) else "no"


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
    return float(vqa.normalise(final_part(answer)) == vqa.normalise(reference))


def is_closed(reference: str) -> bool:
    """Whether a question of PathVQA is answered with yes or no."""
    return reference.strip().lower() in ("yes", "no", "true", "false")


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

    True is yes, number words are numbers, none and `no objects` are 0, 3.0 is 3, grey is gray, `The
    bicycle is blue and brown` is `brown, blue`; a number may bring its noun (`3 apples`).
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
    plain = " ".join(words(_IN_A_LIST.sub(" and ", " ".join(text.split()))))
    kept = [_clevr_word(word) for word in _LEAD_IN.sub("", plain).split()]
    if kept[0:1] == ["no"] and len(kept) > 1:  # "no objects"
        kept[0] = "0"
    if "and" in kept:  # a list has no order
        parts = sorted(" ".join(kept).split(" and "))
        return tuple(" and ".join(parts).split())
    return tuple(kept)


def _clevr_word(word: str) -> str:
    if whole := _WHOLE.fullmatch(word):
        return whole[1]
    return {"true": "yes", "false": "no"}.get(word) or NUMBER_WORDS.get(word) or _SAME_WORD.get(word, word)
