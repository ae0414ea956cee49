"""Short answers in words: GQA, yes/no questions (POPE), PathVQA and Super-CLEVR."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from typing import Literal

from holdfast.tasks.numerals import plain_typography
from holdfast.tasks.scorers import vqa
from holdfast.tasks.scorers.text import NUMBER_WORDS, TAKEN_BACK, final_part, labelled_part, words

_YES = {"yes", "yeah", "yep", "yup", "true"}
_NO = {"no", "nope", "nah", "nay", "none", "not", "false", "cannot", "never", "neither"}
# Where it is the whole answer: "That is correct."
_AGREES = {
    "correct",
    "right",
    "affirmative",
    "certainly",
    "absolutely",
    "definitely",
    "sure",
    "indeed",
    "y",
    "present",
}
_DISAGREES = {"incorrect", "wrong", "negative", "untrue", "n", "absent"}
_SO = re.compile(
    r"of course|i (?:think|believe|guess|suppose) so"
    r"|(?:surely )?(?:it|he|she|they|this|that|these|those) (?:is|are|was|were|does|do|did|has|have|can)"
    r"|surely there (?:is|are)"
)
_SURELY = re.compile(r"\A(?:indeed|absolutely|certainly|definitely|of course)[,!.;:]? (?=\w)")
# Words before the one that decides: "The answer is yes", "Well, I think it is not", "Sorry, no".
_LEAD = {
    "so", "well", "surely", "sorry", "i'm", "but", "therefore", "thus", "i", "think", "believe", "final",
    "correct", "answer", "is", "it", "that", "this", "that's", "it's", "statement",
}  # fmt: skip
_DECIDING = re.compile(r"\b(?:yes|no|true|false)\b")
_EITHER = re.compile(
    r"(?:yes|true)(?: ?(?:/|\|| or ) ?| and )(?:no|false)\b(?! \w)"
    r"|(?:no|false)(?: ?(?:/|\|| or ) ?| and )(?:yes|true)\b(?! \w)"
)
_BARE_NO = {"no", "nope", "nah", "nay", "false"}
_BETWEEN = {"or", "and", "maybe", "perhaps", "possibly", "both", "either", "vs", "versus", "also", "then"}
_CALLED_WRONG = re.compile(  # "The wrong answer is yes", "Yes is not the answer"
    r"\b(?:wrong|incorrect|false) answer(?: is| would be)?:? ['\"]?(?:yes|no)\b"
    r"|\A\W*(?:the answer )?['\"]?(?:yes|no)['\"]? (?:is|was|would be|seems)"
    r" (?:not (?:the )?(?:correct|right|answer)|(?:the )?(?:wrong|incorrect|false))\b"
)
_TWICE_DENIED = re.compile(  # "I cannot deny it", "not a no", "It is not the case that there is no dog"
    r"(?:\b(?:can)?not|n't) (?:(?:be )?(?:den(?:y|ied)|doubt|rul(?:e|ed) out|excluded?|disagree)"
    r"|(?:an? )?['\"]?no)\b"
    r"|\b(?:not the case|false) that (?:\w+ ){0,6}?(?:not?\b|\w{2,6}n't)|\bnot only\b"
)
_ON_CONDITION = re.compile(r"\b(yes|no),? (?:if|when|unless|otherwise|else)\b")  # "yes if …, no otherwise"
_CORRECTED = re.compile(
    rf"{TAKEN_BACK}[ ,.:;!…–—-]{{1,6}}(?:(?:it is|it's|the answer is|make that) )?(yes|no)(?=[.,;!…]|$)"
)
_NO_DOUBT = re.compile(r"\b(?:no|without (?:a|any)) (?:doubt|question)\b")
_NOT_TRUE = re.compile(r"(?:\bnot|n't) true\b")
_NOT_FALSE = re.compile(r"(?:\bnot|n't) (?:false|untrue|wrong|incorrect)\b")
_PICTURE = r"(?:image|picture|photo|visual input)s?"
_NOT_THERE = (  # of the picture that is asked about
    "accessible|attached|available|displayed|given|loaded|provided|received|shared|shown|there|uploaded|visible"
)
# No decision: what neither affirms nor denies.
_NO_IDEA = re.compile(
    r"no (?:idea|clue|comment|info|information|data|response|problem|thanks|shortage|fewer|less|telling"
    r"|way (?:of|to)|(?:(?:clear|definite|definitive) )?answer"
    rf"|{_PICTURE} (?:is|was|has been|given|provided|attached)|{_PICTURE}\W*$)(?!\w)"
)
_REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|unable|unsure|unclear|uncertain|insufficient|possibility)\b"
    r"|(?:\b(?:can)?not|n't)(?: be)? (?:sure|certain|clear|possible to|enough|able to|applicable|available"
    r"|determinable|specified|mentioned|stated|(?:have )?(?:enough|access|sufficient))\b"
    r"|\b(?:cannot|can't|can not|could not|couldn't|do not|don't|did not|didn't|won't|will not|would not"
    r"|wouldn't|neither)"
    r"(?: be)? "
    r"(?:answer|assist|confirm|determine|help|identif(?:y|ie)|judge|know|process|provide|say|said|tell|understand"
    r"|verif(?:y|ie))(?:e?d)?\b"
    rf"|\b(?:see|view) (?:(?:the|any|an|your) )?{_PICTURE}\b"
    # "You haven't attached an image", "The image is not available", "There is no image here"
    r"|\b(?:i|we|you)(?:'m| am|'ve| have| was| were| are| do| did| can| could)?(?: ?not|n't) (?:been )?"
    r"(?:access|attach|display|g[eo]t|giv|have|hav|includ|load|open|provid|receiv|seen?|sen[dt]|shar|upload)\w{0,3}"
    rf" (?:(?:me|us|with|the|an?|any|your) ){{0,3}}{_PICTURE}\b"
    rf"|\b{_PICTURE} (?:is|was|has|does|did|could)(?: ?not|n't) (?:been |be )?"
    rf"(?:load|display|open|{_NOT_THERE})\b"
    rf"|\bthere(?:'s| is| was)(?: no|(?: ?not|n't) an?y?) {_PICTURE}"
    rf"(?= (?:here|to|for me|{_NOT_THERE})\b|\W*$)"
    # "There may or may not be one"
    r"|\b(?:may|might) not\b|\b(?:may|might|could) or\b|\bor not\W*$"
)
_THERE = re.compile(
    rf"(?:surely )?(?:(?:looking at|in|from|based on) (?:this |the )?{_PICTURE} )?"
    r"(?:there(?:'s|(?: \w{1,12}ly)? (?:is|are|was|were|(?:does |do )?(?:appear|seem)s? to be))"
    r"|(?:i|we|you)(?: \w+){0,2} see)(?!\S)"
)
_TO_BE_SEEN = re.compile(rf"\b(?:(?:is|are) (?:present|visible|shown|in (?:the )?{_PICTURE})|can be seen)\b")
_HARDLY = re.compile(  # nor what is there instead of what is asked for: "only a cat", "something else"
    r"\b(?:hardly|scarcely|whether|(?:tell|say|know|determine|judge) if|instead of|rather than|resembl\w+"
    r"|only(?! (?:one|two|1|2)\b))\b"
    r"|\b(?:is|are|was|were|see) (?:some )?(?:just|merely|something|another|other|different|chance|question"
    r"|doubt|debate|ambiguity|problem|why|how)\b"
)
_NOTHING = {"nothing", "nobody", "nowhere", "zero", "0", "absence", "absent", "lack"}
_LEAD_IN = re.compile(
    r"^(?:(?:it|they|there|this|that|these|those|\w+(?: \w+){0,11}?) (?:is|are)|(?:it|that|there)'s|they're)"
    r" (?=\S)"
)
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_COUNTS = NUMBER_WORDS | {word: f"{ten}0" for ten, word in enumerate(_TENS, start=3)}
_COUNTS |= {"dozen": "12", "hundred": "100", "thousand": "1000", "million": "1000000", "half": "1/2"}
_SAME_WORD = {"grey": "gray", "none": "0", "nothing": "0", "nil": "0"}
_NOT_ANY = re.compile(
    r"(?:there (?:are|is)(?:n't| not) any|(?:i|we) (?:do not|don't|can not|cannot|can't) see any|not any)\b"
)
_NO_THING = re.compile(r"\s*no \w", re.IGNORECASE)
_NUMERAL = rf"(?:\d|(?:{'|'.join(_COUNTS)})\b)"
_BOUND = re.compile(  # "over 2", "2 or more", "> 2", "2nd", "2%", "isn't 2", "-2", "2k", "2 pairs"
    r"\b(?:over|under|up to|(?:more|less|fewer) than|at (?:least|most)|almost|nearly|neither|half of) \S"
    r"|\b(?:above|below|beyond|(?:greater|larger|smaller|higher|lower|other) than|hardly|never|twice|double"
    rf"|triple|minus|negative|except|(?:any(?:thing|(?: \w{{1,10}})?)|all) but) {_NUMERAL}"
    r"|(?:\b(?:can)?not|n't) (?!(?:see )?any\b)\S|(?<![\w.])[-.]\d"
    r"|\b(?:(?:or|and) (?:more|less|fewer|counting)|or (?:no|none|zero))\b|[<>≤≥≠±√∛%‰^¼-¾⅐-⅞]|\d ?\+(?!\S)"
    r"|\d[a-z]|\b[a-z]\d|\bnon-?zero\b"
    r"|\b(?:percent|times|squared|cubed|quarter|dozen|pair|couple|billion|trillion)s?\b"
    r"|\b(?:third|halve|fourth|fifth|ten|hundred|thousand|million)s\b"
)
_OF_AN_ATTRIBUTE = re.compile(
    r"(?: (?:in )?(?:colou?r|size|material)|\bcolou?red ?)\Z"
    r"|\A(?:both|colou?red|colou?r|size|material|made (?:out )?of) "
)
_IN_A_LIST = re.compile(r"(?<=[^\W\d]) ?[,;&/+] ?(?:and )?(?=[^\W\d])")
_WHOLE = re.compile(r"0*(\d+)(?:\.0+)?")
_RATIO = re.compile(r"(?<=\d) ?(?::|\bto\b) ?(?=\d)")
Decision = Literal["yes", "no"]


def yes_or_no(answer: str) -> Decision | None:
    """What an answer says; None when it says neither.

    The first word decides (`Yes, and no other`), after a lead-in such as `The answer is`, unless it is
    taken back (`Yes. Wait, no`). Else a
    refusal is no answer; `There is a kite` and `I see a kite` say yes, `There is nothing` and `I cannot
    see` no; and the words of the first sentence decide, then of all, unless they say both. `That is
    correct` and `Of course` agree.
    """
    text = " ".join(final_part(answer).casefold().replace("’", "'").split())
    text = _NOT_FALSE.sub(" true", _NOT_TRUE.sub(" false", _NO_DOUBT.sub("", text)))
    text = _SURELY.sub("surely ", " ".join(text.split()), count=1)
    deciding = _DECIDING.search(text)
    if deciding and (_EITHER.match(text, deciding.start()) or _CALLED_WRONG.search(text)):
        return None
    if corrected := _CORRECTED.findall(text):
        return "yes" if corrected[-1] == "yes" else "no"
    said = words(text)
    if _both(said) or len({found[1] for found in _ON_CONDITION.finditer(text)}) > 1:
        return None
    start = next((word for word in said if word not in _LEAD), "")
    if start in _YES:
        return "yes"
    if start in _NO - {"not", "cannot", "neither"}:  # "not sure", "cannot tell", "neither confirm nor deny"
        return None if deciding and _NO_IDEA.match(text, deciding.start()) else "no"
    if _REFUSAL.search(text) or _NO_IDEA.search(text) or _TWICE_DENIED.search(text):
        return None
    sentence = words(text.partition(".")[0]) if "." in text else said
    return _affirmed(sentence) or _worded(sentence) or _worded(said) or _agreed(text, said)


def _both(said: list[str]) -> bool:
    """Whether an answer is nothing but yes and no: `Yes. No.`, `yes (or no)`, `yes: 50%, no: 50%`."""
    telling = {word for word in said if not word[0].isdigit()} - _LEAD - _BETWEEN
    yes, no = telling & _YES, telling & _BARE_NO
    return bool(yes and no) and telling == yes | no


def _affirmed(sentence: list[str]) -> Decision | None:
    """Whether a thing is said to be there: `there is a kite`, `I can see a kite`, `a kite is visible`."""
    text = " ".join(sentence)
    found = _THERE.match(text) or _TO_BE_SEEN.search(text)
    if found is None or found[0] == text or _HARDLY.search(text):
        return None
    if not _NOTHING.isdisjoint(sentence):
        return "no"
    return None if any(map(_denies, sentence)) else "yes"


def _worded(said: list[str]) -> Decision | None:
    yes, no = not _YES.isdisjoint(said), any(map(_denies, said))
    return None if yes == no else "yes" if yes else "no"


def _agreed(text: str, said: list[str]) -> Decision | None:
    """What an answer of a word or two says of the question: `That is correct`."""
    telling = set(said) - (_LEAD - {"correct"})
    if len(telling) == 1 and telling & (_AGREES | _DISAGREES):
        return "yes" if telling & _AGREES else "no"
    return "yes" if _SO.fullmatch(text.strip(" .!")) else None


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
    if counted and (_BOUND.search(low) or _decides_too(words(low))):
        return 0.0
    if wanted == ("0",) and (_NO_IDEA.search(low) or _REFUSAL.search(low)):  # which says no number
        return 0.0
    if _clevr(said) == wanted:
        return 1.0
    if counted:
        return float((_numbers(_clevr(said)) or _numbers(tuple(map(_clevr_word, words(said))))) == [*wanted])
    return 0.0


def _decides_too(said: list[str]) -> bool:
    """Whether an answer is a number and yes or no, and nothing else: `2, yes`."""
    telling = set(said) - _LEAD - _BETWEEN
    rest = telling - _YES - _BARE_NO
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
