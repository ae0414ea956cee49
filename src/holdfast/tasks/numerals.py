"""Numbers as people and models write them: signs, thousands and decimal commas, exponents, units behind."""

from __future__ import annotations

import re

_SIGNS = dict.fromkeys(map(ord, "−–—‒‑﹣－"), "-") | {ord("＋"): "+", ord("⁄"): "/", ord("∕"): "/"}
_WIDE_DIGITS = {ord("０") + digit: str(digit) for digit in range(10)} | {ord("．"): ".", ord("，"): ","}
_TYPOGRAPHY = _SIGNS | _WIDE_DIGITS | dict.fromkeys(map(ord, "\u00a0\u2009\u202f\u2007"), " ")
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"
_EXPONENT = re.compile(f"[{_RAISED}]+")
_LOWERED = str.maketrans(_RAISED, "0123456789-")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_POINTS_FOR_COMMAS = re.compile(r"[+-]?\d{1,3}(?:\.\d{3}){2,}")  # one point alone is a decimal point
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+")
_OTHER_NUMBER = re.compile(r"(?<![\w^])\d")  # behind a number; m2 and m^2 are units
_NUMBER = re.compile(r"((?:[+-]\s*)?(?:\d[\d.,]*|\.\d+)(?:[eE][+-]?\d+)?)")


def plain_typography(text: str) -> str:
    """Minus signs, slashes, blanks and digits of every width as the ASCII ones."""
    return text.translate(_TYPOGRAPHY)


def on_the_line(text: str) -> str:
    """Raised digits as exponents: `10⁻³` is `10^{-3}`."""
    return _EXPONENT.sub(lambda raised: f"^{{{raised[0].translate(_LOWERED)}}}", text)


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

    A text with more than one number (`12 or 13`, `1/2`) says none.
    """
    text = plain_typography(text).strip(", \t\n\r")
    found = _NUMBER.match(text)
    if not found or _OTHER_NUMBER.search(text, found.end()):
        return None
    mantissa, mark, exponent = "".join(found[1].split()).lower().partition("e")
    try:
        return float(without_commas(mantissa) + mark + exponent), text[found.end() :].strip()
    except ValueError:  # such as 1.2.3 or 1,2,3
        return None
