r"""Geometry3K: is a mathematical answer right, whatever its notation?

A reference with decimals stands for what rounds to it, so 311.5 accepts 311.46 and `\sqrt{97032}` but not
309; one that is exact (`8 \sqrt { 3 }`) accepts its own decimals, rounded to one place or more. Besides
numbers there are tuples and intervals (in order), sets and lists (in any), statements (`a + b = 90`) and
phrases. Every pattern takes linear time, as answers may be degenerate.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate
from unicodedata import normalize

from holdfast.tasks.numerals import closed_up, on_the_line, plain_typography, with_exponents, without_commas
from holdfast.tasks.scorers import latex
from holdfast.tasks.scorers.text import labelled_part, unwrapped, words
from holdfast.tasks.scorers.units import split_unit
from holdfast.tasks.scorers.value import value

LONGEST = 400  # characters; a longer text is not an answer of this kind
EXACT = 1e-9  # relative

_SYMBOLS = {
    "∠": "angle", "△": "triangle", "≈": "approx", "≅": "cong", "∥": "parallel", "‖": "parallel",
    "⊥": "perp", "⟂": "perp", "∼": "sim", "∪": "cup", "∩": "cap", "∛": "sqrt[3]",
    "≤": "leq", "≥": "geq", "≠": "neq", "∞": "infty", "θ": "theta", "α": "alpha", "β": "beta", "γ": "gamma",
    "δ": "delta", "φ": "phi", "±": "pm", "∓": "mp", "∘": "circ",
}  # fmt: skip
_PRIMES = {"′": "'", "’": "'"}
_CHARACTERS = str.maketrans({sign: rf"\{name} " for sign, name in _SYMBOLS.items()} | _PRIMES | {"∶": ":"})
_FRACTION_SIGN = re.compile("[¼-¾⅐-⅞]")
# Other ways to write what a relation or a name is written with.
_SYNONYMS = (
    (re.compile(r"\\(?:le|leqslant)(?![A-Za-z])|<="), r"\\leq "),
    (re.compile(r"\\(?:ge|geqslant)(?![A-Za-z])|>="), r"\\geq "),
    (re.compile(r"\\ne(?![A-Za-z])|!="), r"\\neq "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"(?<=[A-Z}]) ?(?:\|\||//) ?(?=[A-Z\\])|\\(?:\||Vert(?![A-Za-z]))"), r" \\parallel "),
    (re.compile(r"\\bot(?![A-Za-z])"), r"\\perp "),
    (re.compile(r"(?<=\d) to (?=\d)|\\colon(?![A-Za-z])"), ":"),
    (re.compile(r"[+]?(?:\\infty|(?<![A-Za-z])inf(?:inity)?(?![A-Za-z]))"), r"\\infty "),
    (re.compile(r"(?<=[)\]]) ?U ?(?=[(\[])"), r" \\cup "),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\bper cent\b"), "percent"),
    (re.compile(r"(?<!\\)\b[Aa]ngle\s+(?=[A-Z0-9]\b|[A-Z]{3}\b)"), r"\\angle "),
    (
        re.compile(
            r"(?:(?<!\\)\b[Tt]riangle\s+|(?:\\(?:Delta|bigtriangleup)(?![A-Za-z])|[Δ∆])\s*)"
            r"(?=[A-Z] ?[A-Z] ?[A-Z]\b)"
        ),
        r"\\triangle ",
    ),
    (re.compile(r"\*\*"), "^"),
)
# Similarity, before the tie of LaTeX is taken for a blank.
_SIMILAR = re.compile(r"~(?= ?(?:\\(?:big)?triangle|\\Delta|[△Δ∆]|[Tt]riangle ))")
_SPACES = re.compile(r"\\[,;: ]|~|\\q?quad(?![A-Za-z])")
_MARKS = re.compile(
    r"\\?[$%]|\\[!()\[\]]|\\\\\Z|\\mathbin|\{\}|∴|\\therefore(?![A-Za-z])|[✓✔✅]"
    r"|\\(?:left|right|displaystyle|tiny|small|normalsize|large|Large|LARGE|huge|Huge)(?![A-Za-z])"
)
_DEGREES = re.compile(
    r"\^\s*(?:\{\s*(?:\\circ|o)\s*\}|\\circ|o\b)|\\(?:text)?(?:degree|circ)(?![A-Za-z])|[°º˚]"
)
_REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\(?:overline|bar|dot)\s*\{\s*(\d+)\s*\}|\((\d+)\))")
_LINE = re.compile(
    r"\\(?:overline|bar|overleftrightarrow|overrightarrow|vec|over(?:arc|paren)|(?:wide)?hat"
    r"|(?:overset|stackrel)\s*\{\s*\\frown\s*\})\s*\{\s*([^{}]*?)\s*\}"
)
_BARE_ARGUMENTS = re.compile(r"\\([dt]?)frac\s*(\d)\s*(\d)")  # LaTeX reads \frac12 as one half
_RELATION = re.compile(r"(=|\\(?:cong|parallel|perp|sim|neq|leq|geq)(?![A-Za-z])|[<>])")
_UNKNOWN_TO_ALGEBRA = {r"\cong", r"\parallel", r"\perp", r"\sim"}
_NAMED = re.compile(r"(?:\bm\s*)?\\(angle|triangle)\s*\{?\s*(\w(?:\s*\w){0,2})\b\s*\}?")
# What computer algebra passes over, and so has to be the same in both.
_PASSED_OVER = re.compile(
    r"\\(?!(?:[dtc]?frac|sqrt|over|cdot|times|div|pi|leq|geq|neq)(?![A-Za-z]))[A-Za-z]+|['?,;:]"
    r"|[^\x00-\x7f×·÷π√]|(?<=\d)_|\b(?:and|or|no|not|is)\b"
)
# Signs that computer algebra does not know are written in LaTeX; a root of brackets is not read.
_IN_LATEX = str.maketrans({"·": r"\cdot ", "×": r"\times ", "÷": "/", "π": r"\pi "})
_ROOT_SIGN = re.compile(r"√ ?(?:(\d+|[A-Za-z])|(?={))")
_EQUALS = re.compile(r"=|\\(?:approx|simeq|doteq)(?![A-Za-z])")
_MIRRORED = {"=", r"\cong", r"\parallel", r"\perp", r"\sim", r"\neq"}
_TURNED = {">": "<", r"\geq": r"\leq"}
_OF_A_VALUE = r"(?:area|perimeter|length|answer)(?: of \\?\w{1,12}(?: \w){0,3})?"
_LABEL_OF_A_VALUE = re.compile(_OF_A_VALUE, re.IGNORECASE)
_NAME = re.compile(
    r"(?:m\s*)?\\(?:angle|triangle)\s*\w(?:\s*\w){0,3}|\\[A-Za-z]+(?:\s+[A-Z])?"  # m\angle A, \theta, \sin A
    r"|(?:m\s*)?[A-Z]\s*[A-Z](?:\s*[A-Z])?|\|[A-Z]\s*[A-Z]\||[A-Za-z](?:_\{?\w{1,4}\}?)?"
    r"|\\?(?:sin|cos|tan|cot|sec|csc)\s*(?:\(\s*)?(?:m\s*)?(?:\\angle\s*)?\\?[A-Za-z]\w{0,4}(?:\s*[A-Z]){0,2}(?:\s*\))?"
    r"|\(\s*x\s*,\s*y\s*\)"
    rf"|{_OF_A_VALUE}",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
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
_PARTED_DIGITS = re.compile(r"(?<=\d)\s+(?=\d(?!\d\d(?!\d)))")  # 1 2 is not 12, but 1 200 is 1200
_WORKED_OUT = re.compile(r"(?<=\S)\s*[-+*×·÷^]|\\(?:times|cdot|div)(?![A-Za-z])")
_FRACTION = re.compile(r"\\frac\{([\w.]+)\}\{([\w.]+)\}")
_BRACED = re.compile(r"\{(\w)\}")
_BRACKETED_WORD = re.compile(r"\(([A-Za-z0-9.]+)\)")
_CLOSING = {"(": ")]", "[": ")]", "{": "}", r"\{": r"\}"}


def geometry(answer: str, reference: str) -> float:
    """Equal numbers (decimals within rounding), collections, statements or expressions; else equal texts."""
    found = labelled_part(answer)
    if len(found) > LONGEST:
        return 0.0
    lead_in = _LEAD_IN.match(found)
    given, wanted = _bare(found[lead_in.end() :] if lead_in else found), _bare(reference)
    if not given:
        return 0.0
    if _squeezed(given) == _squeezed(wanted):
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


@lru_cache(maxsize=4096)
def one_notation(text: str) -> str:
    r"""A quantity or formula in one spelling: `45^\circ` as `45 degrees`, `\dfrac34` as 3/4, `H_2O`."""
    quantity, unit = split_unit(_bare(text))
    spelt = _squeezed(_in_latex(without_commas(closed_up(quantity)))).replace("_", "")
    return _BRACED.sub(r"\1", _FRACTION.sub(r"\1/\2", spelt)) + unit


@lru_cache(maxsize=4096)
def quantity_of(text: str) -> str:
    """A quantity by its value and unit; "" where there is none.

    Sums and products are not worked out: where they are asked for, their value is another answer.
    """
    quantity, unit = split_unit(_bare(text))
    number = value(without_commas(closed_up(quantity)))
    return "" if number is None or _WORKED_OUT.search(quantity) else f"{number:.12g}{unit}"


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
    if _squeezed(given) == _squeezed(wanted):
        return bool(given)
    members = _members(wanted)
    if members:
        return _same_members(_members(given), members)
    if _members(given):
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


def _members(text: str) -> tuple[str, list[str]] | None:
    """The brackets and members of a tuple, interval or set; None for anything else."""
    opening = text[:2] if text.startswith(r"\{") else text[:1]
    closing = text[-2:] if text.endswith(r"\}") else text[-1:]
    if opening not in _CLOSING or closing not in _CLOSING[opening]:
        return None
    parts, depth = [""], 0
    for letter in text[len(opening) : -len(closing)]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return (opening + closing, [part.strip() for part in parts]) if len(parts) > 1 else None


def _same_members(given: tuple[str, list[str]] | None, wanted: tuple[str, list[str]]) -> bool:
    if (
        given is None
        or given[0].replace("\\", "") != wanted[0].replace("\\", "")
        or len(given[1]) != len(wanted[1])
    ):
        return False
    ours, theirs = given[1], wanted[1]
    if wanted[0].startswith(("\\", "{")):  # a set has no order
        ours, theirs = (sorted(part, key=_place) for part in (ours, theirs))
    return all(map(_same, ours, theirs))


def _place(member: str) -> tuple[float, str]:
    number = _number(member)
    return (float("inf") if number is None else number, _squeezed(member))


def _statement(text: str) -> tuple[list[str], list[str]]:
    """The sides of a statement and what relates them, in an order of their own where it does not matter."""
    parts = [part.strip() for part in _RELATION.split(text)]
    sides, relations = parts[::2], parts[1::2]
    if all(relation in _TURNED for relation in relations):
        return sides[::-1], [_TURNED[relation] for relation in relations[::-1]]
    if len(relations) == 1 and relations[0] in _MIRRORED:
        sides.sort(key=_squeezed)
    return sides, relations


def _same_statement(ours: tuple[list[str], list[str]], theirs: tuple[list[str], list[str]]) -> bool:
    return ours[1] == theirs[1] and all(map(_same, ours[0], theirs[0]))


def _list(text: str) -> list[str]:
    """The members of `AD and BE` in order of the alphabet; none if the text is no list."""
    parts = [_squeezed(part) for part in re.split(r"[,;]|\\?&|\band\b", text)]
    return sorted(filter(None, parts)) if len(parts) > 1 else []


def _by_algebra(given: str, wanted: str) -> bool:
    r"""Computer algebra, for two answers that both look like formulas. Words never get there.

    It passes over what it does not know: it takes `\leq 5` for 5, and `\angle 1 \cong \angle 2` for 2. So
    names become variables, and what relates, parts or changes the rest has to be the same.
    """
    given, wanted = map(_in_latex, (given, wanted))
    if not (_symbolic(given) and _symbolic(wanted)):
        return False
    ours, theirs = (_NAMED.sub(_variable, text) for text in (given, wanted))
    relations = _statement(ours)[1]
    alike = relations == _statement(theirs)[1] and _UNKNOWN_TO_ALGEBRA.isdisjoint(relations)
    alike = alike and not (relations and _nested(ours))
    return alike and _passed_over(ours) == _passed_over(theirs) and latex.equal(ours, theirs)


def _in_latex(text: str) -> str:
    r"""`5√2·x` as `5\sqrt{2}\cdot x`."""
    roots = _ROOT_SIGN.sub(lambda sign: rf"\sqrt{{{sign[1]}}}" if sign[1] else r"\sqrt", text)
    return roots.translate(_IN_LATEX)


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
    plain = re.sub(r"\\[A-Za-z]+", " ", text)
    return bool(re.search(r"\\[A-Za-z]|[=+*/^<>-]|\d\s*[a-z]\b", text)) and not re.search(
        r"[^\W\d_]{3,}", plain
    )


def _bare(text: str) -> str:
    """Without what only sets type, degree and percent signs, lines over names and a full stop."""
    text = _FRACTION_SIGN.sub(lambda sign: f" {normalize('NFKC', sign[0])} ", text)
    text = _SIMILAR.sub(r"\\sim ", plain_typography(on_the_line(text))).translate(_CHARACTERS)
    text = with_exponents(text.replace("{,}", ",").replace("{.}", ".")).strip()
    text = _REPEATING.sub(_fraction, _MARKS.sub("", _DEGREES.sub("", _SPACES.sub(" ", text))))
    text = unwrapped(text, " ")
    while (plain := _LINE.sub(r" \1", text)) != text:
        text = plain
    text = _DEGREES.sub("", text)
    for pattern, form in _SYNONYMS:
        text = pattern.sub(form, text)
    return _BARE_ARGUMENTS.sub(r"\\\1frac{\2}{\3}", text).strip().removesuffix(".").strip()


def _fraction(repeating: re.Match[str]) -> str:
    r"""`0.1\overline{6}` as 15/90."""
    once = repeating[1] + repeating[2]
    again = repeating[3] or repeating[4]
    over = int(once + again) - int(once or "0")
    return rf"\frac{{{over}}}{{{'9' * len(again) + '0' * len(repeating[2])}}}"


def _squeezed(text: str) -> str:
    text = "".join(_PARTED_DIGITS.sub("␣", text).split()).casefold()
    return re.sub(r"\\[dtc]frac", r"\\frac", text)


def _number(text: str) -> float | None:
    if found := _RATIO.fullmatch(text):
        over, under = value(found[1]), value(found[2])
        return over / under if over is not None and under else None
    return value(text)
