"""Numbers as people and models write them: signs, thousands and decimal commas, exponents, units behind."""

from __future__ import annotations

import re
from unicodedata import normalize

_SIGNS = dict.fromkeys(map(ord, "−–—‒‑﹣"), "-") | {
    ord("⁄"): "/",
    ord("∕"): "/",
    ord("⋅"): "·",
    ord("∙"): "·",
}
_WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_MATHEMATICAL = {code: normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D800)}  # 𝜋, 𝟏, 𝐁
_BLANKS = dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " ")
UNSEEN = dict.fromkeys((0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF))
_TYPOGRAPHY = _SIGNS | _WIDE | _MATHEMATICAL | _BLANKS | UNSEEN
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"
_EXPONENT = re.compile(f"[{_RAISED}]+")
_LOWERED = str.maketrans(_RAISED, "0123456789-")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")  # 0,125 is a decimal
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,])([1-9]\d{0,2})((?: \d{3})+)(?!\d)")
_POINTS_FOR_COMMAS = re.compile(r"[+-]?\d{1,3}(?:\.\d{3}){2,}")  # one point alone is a decimal point
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+")
COMMA = re.compile(r"\{,\}|,\\!|\\!,")  # of LaTeX, that sets no space behind it
_LATEX = (  # how LaTeX sets what stands in and behind a number
    (COMMA, ","),
    (re.compile(r"(?<=[\d%])(?:\\[,;: ]|~)"), " "),
    (re.compile(r"\\(?=[%$])"), ""),
    (re.compile(r" ?\^ ?(?:\\circ(?![A-Za-z])|\{ ?\\circ ?\})"), "°"),
    (re.compile(r"\\(?:text|textrm|mathrm) ?\{([^{}]*)\}"), r"\1"),
)
_TIMES_TEN = re.compile(r" ?(?:\\times|\\cdot|×|·|\*|x|X) ?10 ?(?:\^|\*\*) ?\{?([+-]?\d+)\}?")
_CURRENCY_FIRST = re.compile(r"\A([+-]?) ?\\?([$€£¥₹₩]) ?(?=[\d.])([\d.,]+(?:[eE][+-]?\d+)?)")
_OTHER_NUMBER = re.compile(r"(?<![\w^{])\d")  # behind a number; m2 and m^{2} are units
_NUMBER = re.compile(r"((?:[+-]\s*)?(?:\d[\d.,]*|\.\d+)(?:[eE][+-]?\d+)?)")


def plain_typography(text: str) -> str:
    """Signs, blanks, letters and digits of every width and typeface as the plain ones; unseen marks go."""
    return text.translate(_TYPOGRAPHY)


def on_the_line(text: str) -> str:
    """Raised digits as exponents: `10⁻³` is `10^{-3}`."""
    return _EXPONENT.sub(lambda raised: f"^{{{raised[0].translate(_LOWERED)}}}", text)


def with_exponents(text: str) -> str:
    r"""Powers of ten as exponents: `1.2 \times 10^{3}` is `1.2e3`."""
    return _TIMES_TEN.sub(r"e\1", text)


def closed_up(text: str) -> str:
    """Without the blanks that set thousands apart: `1 200` is 1200, while `1 2` stays."""
    return _SPACED_THOUSANDS.sub(lambda found: found[1] + found[2].replace(" ", ""), text)


def without_commas(number: str) -> str:
    """A numeral with a point and no commas: `1,200` is 1200, `3,5` is 3.5; other texts stay as they are."""
    if _THOUSANDS.fullmatch(number):
        return number.replace(",", "")
    if _POINTS_FOR_COMMAS.fullmatch(number):
        return number.replace(".", "")
    if _DECIMAL_COMMA.fullmatch(number):
        return number.replace(".", "").replace(",", ".")
    return number


def read_number(text: str) -> tuple[float, str] | None:
    """The number that a text begins with and what stands behind it (its unit), or None.

    A currency's sign may stand before it: `$5` is 5 in $. A text with more than one number (`12 or 13`,
    `1/2`) says none.
    """
    text = plain_typography(text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    text = with_exponents(on_the_line(closed_up(text))).strip(", \t\n\r")
    text = _CURRENCY_FIRST.sub(r"\1\3 \2", text)
    found = _NUMBER.match(text)
    if not found or _OTHER_NUMBER.search(text, found.end()):
        return None
    mantissa, mark, exponent = "".join(found[1].split()).lower().partition("e")
    try:
        return float(without_commas(mantissa) + mark + exponent), text[found.end() :].strip(" .")
    except ValueError:  # such as 1.2.3 or 1,2,3
        return None
