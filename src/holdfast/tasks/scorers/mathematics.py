r"""Geometry3K: is a mathematical answer right, whatever its notation?

A reference with decimals stands for what rounds to it, so 311.5 accepts 311.46 and `\sqrt{97032}` but not
309; one that is exact (`8 \sqrt { 3 }`) accepts its own decimals, rounded to one place or more. Besides
numbers there are tuples and intervals (in order), sets and lists (in any), statements (`a + b = 90`) and
phrases. Every pattern takes linear time, as answers may be degenerate.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import NamedTuple

from holdfast.tasks.numerals import closed_up, without_commas
from holdfast.tasks.scorers import latex
from holdfast.tasks.scorers.notation import in_latex, squeezed, undressed
from holdfast.tasks.scorers.text import labelled_part, words
from holdfast.tasks.scorers.units import split_unit
from holdfast.tasks.scorers.value import value

LONGEST = 400  # characters; a longer text is not an answer of this kind
EXACT = 1e-9  # relative

# Statements: relations, of which some read the same from both sides (a = b, b = a), some the other way round.
_RELATION = re.compile(r"(=|\\(?:cong|parallel|perp|sim|neq|leq|geq)(?![A-Za-z])|[<>])")
_EQUALS = re.compile(r"=|\\(?:approx|simeq|doteq)(?![A-Za-z])")
_MIRRORED = {"=", r"\cong", r"\parallel", r"\perp", r"\sim", r"\neq"}
_TURNED = {">": "<", r"\geq": r"\leq"}

# Computer algebra: what it does not know, what becomes a variable before (m\angle ABC), and what it passes
# over, and so has to be the same in both.
_UNKNOWN_TO_ALGEBRA = {r"\cong", r"\parallel", r"\perp", r"\sim"}
_NAMED = re.compile(r"(?:\bm\s*)?\\(angle|triangle)\s*\{?\s*(\w(?:\s*\w){0,2})\b\s*\}?")
_PASSED_OVER = re.compile(
    r"\\(?!(?:[dtc]?frac|sqrt|over|cdot|times|div|pi|leq|geq|neq)(?![A-Za-z]))[A-Za-z]+|['?,;:]"
    r"|[^\x00-\x7f×·÷π√]|(?<=\d)_|\b(?:and|or|no|not|is)\b"
)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_OF_A_FORMULA = re.compile(r"\\[A-Za-z]|[=+*/^<>-]|\d\s*[a-z]\b")
_WORD = re.compile(r"[^\W\d_]{3,}")

# Names of what is asked for, which may stand before its value: `m \angle 1 = 45`, "The area is 12".
_ANGLE = r"(?:m\s*)?\\(?:angle|triangle)\s*\w(?:\s*\w){0,3}"  # m\angle A B C
_SYMBOL = r"\\[A-Za-z]+(?:\s+[A-Z])?"  # \theta, \sin A
_SEGMENT = r"(?:m\s*)?[A-Z]\s*[A-Z](?:\s*[A-Z])?|\|[A-Z]\s*[A-Z]\|"  # A B, mABC, |AB|
_VARIABLE = r"[A-Za-z](?:_\{?\w{1,4}\}?)?"  # x, h_1
_RATIO_OF_SIDES = (  # sin(m\angle A), \cos B
    r"\\?(?:sin|cos|tan|cot|sec|csc)\s*(?:\(\s*)?(?:m\s*)?(?:\\angle\s*)?"
    r"\\?[A-Za-z]\w{0,4}(?:\s*[A-Z]){0,2}(?:\s*\))?"
)
_POINT = r"\(\s*x\s*,\s*y\s*\)"  # (x, y)
_OF_A_VALUE = r"(?:area|perimeter|length|answer)(?: of \\?\w{1,12}(?: \w){0,3})?"  # "area of ABC"
_LABEL_OF_A_VALUE = re.compile(_OF_A_VALUE, re.IGNORECASE)
_NAME = re.compile(
    "|".join((_ANGLE, _SYMBOL, _SEGMENT, _VARIABLE, _RATIO_OF_SIDES, _POINT, _OF_A_VALUE)), re.IGNORECASE
)
_LEAD_IN = re.compile(  # "So the final answer is", and before a value alone "hence", "about", "point P"
    r"(?:(?:so|thus|hence|therefore),? )?(?:the |my )?(?:(?:final|correct|right|exact) )?"
    r"(?:answer|value|measure|length|width|height|area|perimeter|circumference|radius|diameter|volume|ratio|x)"
    r"(?: of [^=.:]{1,30}?)?(?: is(?: (?:equal to|approximately|about))?| equals|:) ?:? ?"
    r"|(?:so|thus|hence|therefore),? (?=\S{1,20} ?=)"
    r"|(?:about|approximately|approx\.?|roughly|exactly) (?=[\d.\\-])"
    r"|(?:the )?point (?:[A-Z] ?)?(?=\()",
    re.IGNORECASE,
)

_DECIMALS = re.compile(r"[+-]?\s*\d*\.(\d+)")
_RATIO = re.compile(r"\s*(-?[\d.]+)\s*:\s*(-?[\d.]+)\s*")
# What makes another thing of the same words and numbers: >5, 5!, |x|, -x, x', A ∪ B (any arrow or operator of
# mathematics, or half a bracket ⌊), but not the hyphen of a word.
_OPERATORS = re.compile(
    r"[<>|+*/^×·÷¬″←-⋿⌈-⌋]|(?:(?<=[\d)\]])|(?<=\b[A-Za-z]))!|(?<![A-Za-z])-|-(?![A-Za-z])"
    r"|(?:(?<=[A-Z\d])|(?<=\b[a-z]))'+"
)
_BRACKETED_WORD = re.compile(r"\(([A-Za-z0-9.]+)\)")
_CLOSING = {"(": ")]", "[": ")]", "{": "}", r"\{": r"\}"}


class _Collection(NamedTuple):
    """A tuple, interval or set; its brackets are the two together, without the backslashes of LaTeX."""

    brackets: str
    members: list[str]


class _Statement(NamedTuple):
    """What stands between the relations of `a < b < c`, in an order of its own where it does not matter."""

    sides: list[str]
    relations: list[str]


def geometry(answer: str, reference: str) -> float:
    """Equal numbers (decimals within rounding), collections, statements or expressions; else equal texts."""
    found = labelled_part(answer)
    if len(found) > LONGEST:
        return 0.0
    lead_in = _LEAD_IN.match(found)
    given, wanted = undressed(found[lead_in.end() :] if lead_in else found), undressed(reference)
    if not given:
        return 0.0
    if squeezed(given) == squeezed(wanted):
        return 1.0
    name, relation, value_of_it = wanted.partition("=")
    if relation and _NAME.fullmatch(name.strip()) and not _RELATION.search(given + value_of_it):
        wanted = value_of_it.strip()  # `x = 3` is answered by 3, too
    if _RELATION.search(wanted):
        return float(_same_statement(_statement(given), _statement(wanted)) or _by_algebra(given, wanted))
    sides = [side.strip() for side in _EQUALS.split(given)]
    if len(sides) == 2 and _names(sides[1]) and not _same(sides[1], wanted):
        sides.reverse()  # `12 = x`
    *others, last = sides
    return float(all(_leads_to(side, wanted) for side in others) and _same(last, wanted))


def _leads_to(side: str, wanted: str) -> bool:
    """Whether what stands before `=`, if anything, names what was asked for, or is the answer otherwise.

    Where a name is the answer, another one before it is a second answer: `\angle 4 = \angle 5`.
    """
    if not side or _same(side, wanted):
        return True
    return _names(side) and (not _names(wanted) or _LABEL_OF_A_VALUE.fullmatch(side) is not None)


def _names(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and value(text) is None


def _same(given: str, wanted: str) -> bool:
    given, unit = split_unit(given)
    wanted, expected = split_unit(wanted)
    if unit and expected and unit != expected:
        return False
    if found := _BRACKETED_WORD.fullmatch(given):
        given = found[1]
    if squeezed(given) == squeezed(wanted):
        return bool(given)
    if collection := _collection(wanted):
        return _same_members(_collection(given), collection)
    if _collection(given):
        return False
    ours, theirs = _number(without_commas(closed_up(given))), _number(_reference_number(wanted))
    if ours is not None and theirs is not None:
        return _close(ours, theirs, given, wanted)
    if _symbolic(wanted):
        return _by_algebra(given, wanted)
    if _OPERATORS.findall(given) != _OPERATORS.findall(wanted):
        return False
    return words(given) == words(wanted) or _list(given) == _list(wanted) != []


def _reference_number(text: str) -> str:
    """A reference's comma can only set thousands apart; `2,3` is a list."""
    return text.replace(",", "") if re.fullmatch(r"-?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", text) else text


def _close(ours: float, theirs: float, given: str, wanted: str) -> bool:
    """Equal; or one is written in decimals, and the other rounds to it (0.0 says nothing of a small one)."""
    decimals = _DECIMALS.fullmatch(wanted)
    if decimals is None and ours and abs(theirs - round(theirs)) > EXACT:
        decimals = _DECIMALS.fullmatch(without_commas(given))
    rounding = 0.5 * 10.0 ** -len(decimals[1]) if decimals else 0.0
    return abs(ours - theirs) <= rounding + EXACT * abs(theirs)


def _collection(text: str) -> _Collection | None:
    """The tuple, interval or set of two members or more that this is; None for anything else."""
    opening = text[:2] if text.startswith(r"\{") else text[:1]
    closing = text[-2:] if text.endswith(r"\}") else text[-1:]
    if opening not in _CLOSING or closing not in _CLOSING[opening]:
        return None
    members, depth = [""], 0
    for letter in text[len(opening) : -len(closing)]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            members.append("")
        else:
            members[-1] += letter
    brackets = (opening + closing).replace("\\", "")
    return _Collection(brackets, [member.strip() for member in members]) if len(members) > 1 else None


def _same_members(given: _Collection | None, wanted: _Collection) -> bool:
    if given is None or given.brackets != wanted.brackets or len(given.members) != len(wanted.members):
        return False
    ours, theirs = given.members, wanted.members
    if wanted.brackets == "{}":  # a set has no order
        ours, theirs = (sorted(members, key=_place) for members in (ours, theirs))
    return all(map(_same, ours, theirs))


def _place(member: str) -> tuple[float, str]:
    """What the members of a set are sorted by: their values, and behind these their texts."""
    number = _number(member)
    return (float("inf") if number is None else number, squeezed(member))


def _statement(text: str) -> _Statement:
    parts = [part.strip() for part in _RELATION.split(text)]
    sides, relations = parts[::2], parts[1::2]
    if all(relation in _TURNED for relation in relations):
        return _Statement(sides[::-1], [_TURNED[relation] for relation in relations[::-1]])
    if len(relations) == 1 and relations[0] in _MIRRORED:
        sides.sort(key=squeezed)
    return _Statement(sides, relations)


def _same_statement(ours: _Statement, theirs: _Statement) -> bool:
    return ours.relations == theirs.relations and all(map(_same, ours.sides, theirs.sides))


def _list(text: str) -> list[str]:
    """The members of `AD and BE` in order of the alphabet; none if the text is no list."""
    parts = [squeezed(part) for part in re.split(r"[,;]|\\?&|\band\b", text)]
    return sorted(filter(None, parts)) if len(parts) > 1 else []


def _by_algebra(given: str, wanted: str) -> bool:
    r"""Computer algebra, for two answers that both look like formulas. Words never get there.

    It passes over what it does not know: it takes `\leq 5` for 5, and `\angle 1 \cong \angle 2` for 2. So
    names become variables, and what relates, parts or changes the rest has to be the same.
    """
    given, wanted = map(in_latex, (given, wanted))
    if not (_symbolic(given) and _symbolic(wanted)):
        return False
    ours, theirs = (_NAMED.sub(_variable, text) for text in (given, wanted))
    relations = _statement(ours).relations
    if relations != _statement(theirs).relations or not _UNKNOWN_TO_ALGEBRA.isdisjoint(relations):
        return False
    if (relations and _nested(ours)) or _passed_over(ours) != _passed_over(theirs):
        return False
    return latex.equal(ours, theirs)


def _variable(name: re.Match[str]) -> str:
    r"""`m\angle A B C` as `\angle_{ABC}` in letters that computer algebra reads as one variable."""
    return f" {'t' if name[1] == 'triangle' else 'z'}_{{{''.join(name[2].split())}}} "


def _passed_over(text: str) -> list[str]:
    return sorted(_PASSED_OVER.findall(text))


def _nested(text: str) -> bool:
    """Whether a relation stands within brackets."""
    depths = accumulate((letter in "([{") - (letter in ")]}") for letter in text)
    return any(depth and letter in "=<>" for depth, letter in zip(depths, text, strict=True))


def _symbolic(text: str) -> bool:
    """Holds an operator or a LaTeX command and no word of three letters or more."""
    return bool(_OF_A_FORMULA.search(text)) and not _WORD.search(_COMMAND.sub(" ", text))


def _number(text: str) -> float | None:
    if found := _RATIO.fullmatch(text):
        over, under = value(found[1]), value(found[2])
        return over / under if over is not None and under else None
    return value(text)
