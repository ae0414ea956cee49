r"""Which option's text an answer gives: all of it, its beginning, or what it states ("The answer is Ohio").

Texts are compared as they are spelt, else by their words, else as quantities or formulas. As in `options`,
every pattern takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from unicodedata import normalize

from holdfast.tasks.numerals import plain_typography
from holdfast.tasks.scorers.letters import MAYBE
from holdfast.tasks.scorers.notation import one_notation, quantity_of
from holdfast.tasks.scorers.text import TAKEN_BACK, words

_LETTERS_OF_TYPE = {  # in brackets and circles: ⒝ Ⓑ
    code: normalize("NFKC", chr(code))
    for first, last in ((0x249C, 0x24E9), (0x1F110, 0x1F149))
    for code in range(first, last + 1)
}
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")

# "answer", "correct option", but not the wrong one; "the answer to this question is".
_IS = r"(?:is|was|will be|would be|should be|must be|has to be)"
_NOT_WRONG = r"(?<!wrong )(?<!incorrect )(?<!false )"
THE_ANSWER = rf"{_NOT_WRONG}\b(?:answer|(?:correct|right|best) (?:option|choice|letter))\b"
THE_ANSWER_IS = rf"{THE_ANSWER}(?: to (?:this|the|your) question)? {_IS}\b ?:? ?"
LETTER_THEN_TEXT = re.compile(  # "(B) dog", "B. dog"; not "(a) or (b)"
    r"(?:\(([A-Za-z])\)|([A-Za-z]) ?[.):])(?![A-Za-z]\.| ?(?:or|and|[,/&;])? ?\(?[a-z][.)](?!\w))"
)
SEVERAL = ""  # in place of a letter: the answer goes on with another option's text
_BEFORE_TEXT = re.compile(rf"(?i:{THE_ANSWER_IS}|{_NOT_WRONG}\b(?:answer|ans\.?)(?: ?[:=]| [–—-] | ?\n) ?)")
_AFTER_TEXT = re.compile(  # "dog, because it barks", "dog, not a cat", "yes, it is"
    r"\n|\. |; | \(|,? (?P<other>not|rather than|instead of) |,? (?:because|since|as it|which) "
    r"|(?i:(?<=\byes)|(?<=\bno)|(?<=\btrue)|(?<=\bfalse)), (?!.*\b[A-HJ-Z]\b)"
)
_OR_ELSE = re.compile(  # ", or maybe a cat", ". No, wait, a cat"
    rf"\s*(?i:(?:or|and),? )?(?i:(?:{MAYBE}),? |(?:(?:no|{TAKEN_BACK})[,:]? ){{1,3}})?"
)

# What tells texts apart that have the same words: -5, x > 2, 5!, but not the hyphen of COVID-19.
_NOTATION = re.compile(r"[\d\\√π^¼-¾⅐-⅞]")
_SIGNS = re.compile(r"[=<>|√+*/^±≤≥≠×÷·]|(?<=\d)!|(?<![A-Za-z])-(?=[\w.(\\-])")


def stated_option(lines: str, choices: Sequence[str], last: bool) -> str | None:
    """The option whose text a statement gives: `the answer is West Virginia`."""
    ends = [found.end() for found in _BEFORE_TEXT.finditer(lines)]
    return _beginning(lines[ends[-1 if last else 0] :].lstrip(), choices) if ends else None


def option_at_an_end(lines: str, choices: Sequence[str]) -> str | None:
    """The option whose text comes first, before an explanation, or in a last line of its own."""
    ends = {_beginning(lines, choices), option_of_text(lines.rpartition("\n")[2], choices)} - {None}
    return ends.pop() or None if len(ends) == 1 else None


def _beginning(text: str, choices: Sequence[str]) -> str | None:
    """The option whose text this is, or its beginning up to a stop; `SEVERAL` where another one follows."""
    if by_text := option_of_text(text, choices):
        return by_text
    for stop in _AFTER_TEXT.finditer(text, 0, _longest(choices)):
        if by_text := option_of_text(text[: stop.start()], choices):
            if stop["other"]:  # is ruled out
                return by_text
            return by_text if option_of_text(_next(text, stop.end()), choices) in (None, by_text) else SEVERAL
    return None


def _next(text: str, start: int) -> str:
    """What stands up to the next stop, "dog (or cat)"."""
    if cue := _OR_ELSE.match(text, start):
        start = cue.end()
    stop = _AFTER_TEXT.search(text, start)
    return text[start : stop.start() if stop else None].rstrip(" )")


def option_of_text(text: str, choices: Sequence[str]) -> str | None:
    """The option whose text this is, if it is exactly one's: word for word, without articles, or in sense."""
    if len(text) > _longest(choices):
        return None
    for form in (_spelt, _worded, _noted, _valued):
        wanted = form(text)
        same = {
            letter: choice
            for letter, choice in zip(ascii_uppercase, choices, strict=False)
            if form(choice) == wanted
        }
        if any(wanted) and same:
            if len({choice.casefold() for choice in same.values()}) == 1 < len(same):  # genotypes: Aa, aa
                same = {letter: choice for letter, choice in same.items() if choice == text.strip(" .\n")}
            return next(iter(same)) if len(same) == 1 else None
        if LETTER_THEN_TEXT.match(text):  # without its article, "A. dog" would be "dog"
            return None
    return None


def begins_with(name: str, letter: str, choices: Sequence[str]) -> bool:
    """Whether the name is part of this option's text: "The answer is A Noble Gas", "… is E. coli"."""
    text = choices[ascii_uppercase.index(letter)]
    return re.match(rf"{name}\.? \S", text, re.IGNORECASE) is not None


def _longest(choices: Sequence[str]) -> int:
    """Of texts that may be an option's, dress included."""
    return 2 * max(map(len, choices), default=0) + 20


def plain_letters(text: str) -> str:
    """A text in plain typography, letters in brackets and circles among it: `Ⓑ` is B, `H₂O` is H2O."""
    return plain_typography(text.translate(_LETTERS_OF_TYPE).translate(_LOWERED))


def _spelt(text: str) -> list[str]:
    return plain_letters(text).casefold().strip(" .,;").split()


def _worded(text: str) -> tuple[list[str], list[str]]:
    """The words of a text, and the signs that make another thing of them."""
    plain = plain_letters(text)
    return words(plain), _SIGNS.findall(plain)


def _noted(text: str) -> list[str]:
    """A quantity or formula, whatever its notation."""
    return [one_notation(text)] if _NOTATION.search(text) else []


def _valued(text: str) -> str:
    """A quantity, as a decimal or a fraction."""
    return quantity_of(text) if _NOTATION.search(text) else ""
