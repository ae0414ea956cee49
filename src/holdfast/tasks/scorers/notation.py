r"""One spelling of a formula or quantity, of the many in which people and models write it.

Every pattern takes linear time, as answers may be degenerate.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import normalize

from holdfast.tasks.numerals import closed_up, on_the_line, plain_typography, with_exponents, without_commas
from holdfast.tasks.scorers.text import unwrapped
from holdfast.tasks.scorers.units import split_unit
from holdfast.tasks.scorers.value import value

_SYMBOLS = {
    "∠": "angle", "△": "triangle", "≈": "approx", "≅": "cong", "∥": "parallel", "‖": "parallel",
    "⊥": "perp", "⟂": "perp", "∼": "sim", "∪": "cup", "∩": "cap", "∛": "sqrt[3]",
    "≤": "leq", "≥": "geq", "≠": "neq", "∞": "infty", "θ": "theta", "α": "alpha", "β": "beta", "γ": "gamma",
    "δ": "delta", "φ": "phi", "±": "pm", "∓": "mp", "∘": "circ",
}  # fmt: skip
_PRIMES = {"′": "'", "’": "'"}
_CHARACTERS = str.maketrans({sign: rf"\{name} " for sign, name in _SYMBOLS.items()} | _PRIMES | {"∶": ":"})
_FRACTION_SIGN = re.compile("[¼-¾⅐-⅞]")
_END = r"(?![A-Za-z])"  # of a command of LaTeX
# Other ways to write what a relation or a name is written with.
_SYNONYMS = [
    (re.compile(pattern), form)
    for pattern, form in (
        (rf"\\(?:le|leqslant){_END}|<=", r"\\leq "),
        (rf"\\(?:ge|geqslant){_END}|>=", r"\\geq "),
        (rf"\\ne{_END}|!=", r"\\neq "),
        (rf"\\lt{_END}", "<"),
        (rf"\\gt{_END}", ">"),
        (rf"(?<=[A-Z}}]) ?(?:\|\||//) ?(?=[A-Z\\])|\\(?:\||Vert{_END})", r" \\parallel "),  # AB || CD
        (rf"\\bot{_END}", r"\\perp "),
        (rf"(?<=\d) to (?=\d)|\\colon{_END}", ":"),
        (rf"[+]?(?:\\infty|(?<![A-Za-z])inf(?:inity)?{_END})", r"\\infty "),
        (r"(?<=[)\]]) ?U ?(?=[(\[])", r" \\cup "),  # (0, 1) U (2, 3)
        (rf"\\lbrace{_END}", r"\\{"),
        (rf"\\rbrace{_END}", r"\\}"),
        (r"\bper cent\b", "percent"),
        (r"(?<!\\)\b[Aa]ngle\s+(?=[A-Z0-9]\b|[A-Z]{3}\b)", r"\\angle "),
        (
            rf"(?:(?<!\\)\b[Tt]riangle\s+|(?:\\(?:Delta|bigtriangleup){_END}|[Δ∆])\s*)"
            r"(?=[A-Z] ?[A-Z] ?[A-Z]\b)",
            r"\\triangle ",
        ),
        (r"\*\*", "^"),
    )
]
# Similarity (△ABC ~ △DEF), before the tie of LaTeX is taken for a blank.
_SIMILAR = re.compile(r"~(?= ?(?:\\(?:big)?triangle|\\Delta|[△Δ∆]|[Tt]riangle ))")
_SPACES = re.compile(rf"\\[,;: ]|~|\\q?quad{_END}")
_MARKS = re.compile(  # which set type, or say nothing of the value
    rf"\\?[$%]|\\[!()\[\]]|\\\\\Z|\\mathbin|\{{\}}|∴|\\therefore{_END}|[✓✔✅]"
    rf"|\\(?:left|right|displaystyle|tiny|small|normalsize|large|Large|LARGE|huge|Huge){_END}"
)
_DEGREES = re.compile(rf"\^\s*(?:\{{\s*(?:\\circ|o)\s*\}}|\\circ|o\b)|\\(?:text)?(?:degree|circ){_END}|[°º˚]")
_REPEATING = re.compile(  # 0.1\overline{6}, 0.1(6)
    r"(\d*)\.(\d*)(?:\\(?:overline|bar|dot)\s*\{\s*(\d+)\s*\}|\((\d+)\))"
)
_LINE = re.compile(  # \overline{AB}
    r"\\(?:overline|bar|overleftrightarrow|overrightarrow|vec|over(?:arc|paren)|(?:wide)?hat"
    r"|(?:overset|stackrel)\s*\{\s*\\frown\s*\})\s*\{\s*([^{}]*?)\s*\}"
)
_BARE_ARGUMENTS = re.compile(r"\\([dt]?)frac\s*(\d)\s*(\d)")  # LaTeX reads \frac12 as one half
_PARTED_DIGITS = re.compile(r"(?<=\d)\s+(?=\d(?!\d\d(?!\d)))")  # 1 2 is not 12, but 1 200 is 1200
_WORKED_OUT = re.compile(rf"(?<=\S)\s*[-+*×·÷^]|\\(?:times|cdot|div){_END}")
_FRACTION = re.compile(r"\\frac\{([\w.]+)\}\{([\w.]+)\}")
_BRACED = re.compile(r"\{(\w)\}")
# Signs that computer algebra does not know are written in LaTeX; a root of brackets is not read.
_IN_LATEX = str.maketrans({"·": r"\cdot ", "×": r"\times ", "÷": "/", "π": r"\pi "})
_ROOT_SIGN = re.compile(r"√ ?(?:(\d+|[A-Za-z])|(?={))")


@lru_cache(maxsize=4096)
def one_notation(text: str) -> str:
    r"""A quantity or formula in one spelling: `45^\circ` as `45 degrees`, `\dfrac34` as 3/4, `H_2O`."""
    quantity, unit = split_unit(undressed(text))
    spelt = squeezed(in_latex(without_commas(closed_up(quantity)))).replace("_", "")
    return _BRACED.sub(r"\1", _FRACTION.sub(r"\1/\2", spelt)) + unit


@lru_cache(maxsize=4096)
def quantity_of(text: str) -> str:
    """A quantity by its value and unit; "" where there is none.

    Sums and products are not worked out: where they are asked for, their value is another answer.
    """
    quantity, unit = split_unit(undressed(text))
    number = value(without_commas(closed_up(quantity)))
    return "" if number is None or _WORKED_OUT.search(quantity) else f"{number:.12g}{unit}"


def undressed(text: str) -> str:
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


def squeezed(text: str) -> str:
    """In small letters, without blanks, and every fraction of one kind: for comparing."""
    text = "".join(_PARTED_DIGITS.sub("␣", text).split()).casefold()
    return re.sub(r"\\[dtc]frac", r"\\frac", text)


def in_latex(text: str) -> str:
    r"""`5√2·x` as `5\sqrt{2}\cdot x`."""
    roots = _ROOT_SIGN.sub(lambda sign: rf"\sqrt{{{sign[1]}}}" if sign[1] else r"\sqrt", text)
    return roots.translate(_IN_LATEX)
