"""Yes or no: what an answer decides, however it is put; most of this is about answers that decide nothing.

Every pattern runs over small letters with single blanks and straight apostrophes.
"""

from __future__ import annotations

import re
from typing import Literal

from holdfast.tasks.scorers.text import TAKEN_BACK, final_part, words

Decision = Literal["yes", "no"]

# Words that decide, and of these the ones that do so as the whole answer ("That is correct") or in a pair.
YES = {"yes", "yeah", "yep", "yup", "true"}
BARE_NO = {"no", "nope", "nah", "nay", "false"}
_NO = BARE_NO | {"none", "not", "cannot", "never", "neither"}
_AGREES = {
    "correct", "right", "affirmative", "certainly", "absolutely", "definitely", "sure", "indeed", "y",
    "present",
}  # fmt: skip
_DISAGREES = {"incorrect", "wrong", "negative", "untrue", "n", "absent"}
_NOTHING = {"nothing", "nobody", "nowhere", "zero", "0", "absence", "absent", "lack"}
# Words before the one that decides ("The answer is yes", "Well, I think it is not", "Sorry, no"), and between
# two that do ("yes or no").
LEAD = {
    "so", "well", "surely", "sorry", "i'm", "but", "therefore", "thus", "i", "think", "believe", "final",
    "correct", "answer", "is", "it", "that", "this", "that's", "it's", "statement",
}  # fmt: skip
BETWEEN = {"or", "and", "maybe", "perhaps", "possibly", "both", "either", "vs", "versus", "also", "then"}

# Of the same sense: "no doubt" says nothing, "not true" is false, "indeed, there is" is "surely there is".
_NO_DOUBT = re.compile(r"\b(?:no|without (?:a|any)) (?:doubt|question)\b")
_NOT_TRUE = re.compile(r"(?:\bnot|n't) true\b")
_NOT_FALSE = re.compile(r"(?:\bnot|n't) (?:false|untrue|wrong|incorrect)\b")
_SURELY = re.compile(r"\A(?:indeed|absolutely|certainly|definitely|of course)[,!.;:]? (?=\w)")

# What takes its decision from a word that decides: "yes/no", "the wrong answer is yes", "yes if it rains".
_DECIDING = re.compile(r"\b(?:yes|no|true|false)\b")
_EITHER = re.compile(
    r"(?:yes|true)(?: ?(?:/|\|| or ) ?| and )(?:no|false)\b(?! \w)"
    r"|(?:no|false)(?: ?(?:/|\|| or ) ?| and )(?:yes|true)\b(?! \w)"
)
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
_CORRECTED = re.compile(  # "Yes. Wait, no."
    rf"{TAKEN_BACK}[ ,.:;!…–—-]{{1,6}}(?:(?:it is|it's|the answer is|make that) )?(yes|no)(?=[.,;!…]|$)"
)

# Answers that decline to decide. Some speak of the picture, which is not there.
_PICTURE = r"(?:image|picture|photo|visual input)s?"
_NOT_THERE = (
    "accessible|attached|available|displayed|given|loaded|provided|received|shared|shown|there|uploaded"
    "|visible"
)
_NO_IDEA = re.compile(
    r"no (?:idea|clue|comment|info|information|data|response|problem|thanks|shortage|fewer|less|telling"
    r"|way (?:of|to)|(?:(?:clear|definite|definitive) )?answer"
    rf"|{_PICTURE} (?:is|was|has been|given|provided|attached)|{_PICTURE}\W*$)(?!\w)"
)
_UNSURE = (  # "It is unclear", "I am not sure", "not specified"
    r"\b(?:sorry|apologi[sz]e|unable|unsure|unclear|uncertain|insufficient|possibility)\b"
    r"|(?:\b(?:can)?not|n't)(?: be)? (?:sure|certain|clear|possible to|enough|able to|applicable|available"
    r"|determinable|specified|mentioned|stated|(?:have )?(?:enough|access|sufficient))\b"
)
_CANNOT_SAY = (  # "I cannot determine that", "It can't be said"
    r"\b(?:cannot|can't|can not|could not|couldn't|do not|don't|did not|didn't|won't|will not|would not"
    r"|wouldn't|neither)"
    r"(?: be)? "
    r"(?:answer|assist|confirm|determine|help|identif(?:y|ie)|judge|know|process|provide|say|said|tell|understand"
    r"|verif(?:y|ie))(?:e?d)?\b"
)
_SEE_THE_PICTURE = rf"\b(?:see|view) (?:(?:the|any|an|your) )?{_PICTURE}\b"  # "I cannot see the image"
_NOT_GIVEN = (  # "You haven't attached an image", "I did not get any picture"
    r"\b(?:i|we|you)(?:'m| am|'ve| have| was| were| are| do| did| can| could)?(?: ?not|n't) (?:been )?"
    r"(?:access|attach|display|g[eo]t|giv|have|hav|includ|load|open|provid|receiv|seen?|sen[dt]|shar|upload)\w{0,3}"
    rf" (?:(?:me|us|with|the|an?|any|your) ){{0,3}}{_PICTURE}\b"
)
_NO_PICTURE = (  # "The image is not available", "There is no image here"
    rf"\b{_PICTURE} (?:is|was|has|does|did|could)(?: ?not|n't) (?:been |be )?"
    rf"(?:load|display|open|{_NOT_THERE})\b"
    rf"|\bthere(?:'s| is| was)(?: no|(?: ?not|n't) an?y?) {_PICTURE}"
    rf"(?= (?:here|to|for me|{_NOT_THERE})\b|\W*$)"
)
_MAY_BE = r"\b(?:may|might) not\b|\b(?:may|might|could) or\b|\bor not\W*$"  # "There may or may not be one"
_REFUSAL = re.compile("|".join((_UNSURE, _CANNOT_SAY, _SEE_THE_PICTURE, _NOT_GIVEN, _NO_PICTURE, _MAY_BE)))

# Answers that say whether a thing is there: "In the image there is a kite", "A kite is visible"; but not
# "There is hardly a kite", nor what is there instead of it: "only a cat", "something else".
_THERE = re.compile(
    rf"(?:surely )?(?:(?:looking at|in|from|based on) (?:this |the )?{_PICTURE} )?"
    r"(?:there(?:'s|(?: \w{1,12}ly)? (?:is|are|was|were|(?:does |do )?(?:appear|seem)s? to be))"
    r"|(?:i|we|you)(?: \w+){0,2} see)(?!\S)"
)
_TO_BE_SEEN = re.compile(rf"\b(?:(?:is|are) (?:present|visible|shown|in (?:the )?{_PICTURE})|can be seen)\b")
_HARDLY = re.compile(
    r"\b(?:hardly|scarcely|whether|(?:tell|say|know|determine|judge) if|instead of|rather than|resembl\w+"
    r"|only(?! (?:one|two|1|2)\b))\b"
    r"|\b(?:is|are|was|were|see) (?:some )?(?:just|merely|something|another|other|different|chance|question"
    r"|doubt|debate|ambiguity|problem|why|how)\b"
)
_SO = re.compile(  # "of course", "I think so", "surely there is"
    r"of course|i (?:think|believe|guess|suppose) so"
    r"|(?:surely )?(?:it|he|she|they|this|that|these|those) (?:is|are|was|were|does|do|did|has|have|can)"
    r"|surely there (?:is|are)"
)


def yes_or_no(answer: str) -> Decision | None:
    """What an answer says; None when it says neither.

    The first word decides (`Yes, and no other`), after a lead-in such as `The answer is`, unless it is
    taken back (`Yes. Wait, no`). Else a refusal is no answer; `There is a kite` and `I see a kite` say yes,
    `There is nothing` and `I cannot see` no; and the words of the first sentence decide, then of all, unless
    they say both. `That is correct` and `Of course` agree.
    """
    text = _in_plain_words(answer)
    deciding = _DECIDING.search(text)
    if deciding and (_EITHER.match(text, deciding.start()) or _CALLED_WRONG.search(text)):
        return None
    if corrected := _CORRECTED.findall(text):
        return "yes" if corrected[-1] == "yes" else "no"
    said = words(text)
    if _says_both(said) or len({found[1] for found in _ON_CONDITION.finditer(text)}) > 1:
        return None
    start = next((word for word in said if word not in LEAD), "")
    if start in YES:
        return "yes"
    if start in _NO - {"not", "cannot", "neither"}:  # "not sure", "cannot tell", "neither confirm nor deny"
        return None if deciding and _NO_IDEA.match(text, deciding.start()) else "no"
    if declines(text) or _TWICE_DENIED.search(text):
        return None
    sentence = words(text.partition(".")[0]) if "." in text else said
    return _affirmed(sentence) or _worded(sentence) or _worded(said) or _agreed(text, said)


def _in_plain_words(answer: str) -> str:
    """An answer's final part in small letters, with `false` for `not true` and nothing for `no doubt`."""
    text = " ".join(final_part(answer).casefold().replace("’", "'").split())
    text = _NOT_FALSE.sub(" true", _NOT_TRUE.sub(" false", _NO_DOUBT.sub("", text)))
    return _SURELY.sub("surely ", " ".join(text.split()), count=1)


def declines(text: str) -> bool:
    """Whether an answer neither affirms nor denies: `I am not sure`, `No idea`, `You attached no image`."""
    return bool(_REFUSAL.search(text) or _NO_IDEA.search(text))


def _says_both(said: list[str]) -> bool:
    """Whether an answer is nothing but yes and no: `Yes. No.`, `yes (or no)`, `yes: 50%, no: 50%`."""
    telling = {word for word in said if not word[0].isdigit()} - LEAD - BETWEEN
    yes, no = telling & YES, telling & BARE_NO
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
    yes, no = not YES.isdisjoint(said), any(map(_denies, said))
    return None if yes == no else "yes" if yes else "no"


def _agreed(text: str, said: list[str]) -> Decision | None:
    """What an answer of a word or two says of the question: `That is correct`."""
    telling = set(said) - (LEAD - {"correct"})
    if len(telling) == 1 and telling & (_AGREES | _DISAGREES):
        return "yes" if telling & _AGREES else "no"
    return "yes" if _SO.fullmatch(text.strip(" .!")) else None


def _denies(word: str) -> bool:
    return word in _NO or word.endswith("n't")


def pope_decision(answer: str) -> Decision:
    """As POPE's own script reads it: `no` or `not` before the first full stop is no, anything else yes."""
    said = final_part(answer).partition(".")[0].replace(",", "").split(" ")
    return "yes" if {"No", "not", "no"}.isdisjoint(said) else "no"
