r"""Mathematical answers: Geometry3K, and the study's scorer for every task.

Two rules that differ on purpose. `geometry` asks whether an answer is right: decimals may be
rounded, notation does not matter. `study` asks what the study's reward asked (arXiv 2507.05386:
normalised string or symbolic equality with one reference, after mathruler's `grade_answer`), with
the same strictness, so that numbers can be set beside the study's. It leaves out what is plainly
wrong there: letters multiplied as symbols (`no` = `on`), units that vanish from words (`yard` =
`feet`), an empty answer.
"""

from __future__ import annotations

import re

from holdfast.tasks.scorers import latex
from holdfast.tasks.scorers.text import final_part, words
from holdfast.tasks.scorers.value import value

ROUNDING = 1e-2  # relative; golds of Geometry3K are roots, fractions or one decimal

_UNITS = (
    "degrees?|degs?|cm|centimeters?|mm|millimeters?|km|kilometers?|meters?|metres?|m|inch(?:es)?|in|feet|"
    "foot|ft|yards?|yd|miles?|mi|square|sq|cubic|units?|hours?|hrs?|minutes?|mins?|seconds?|secs?|days?|"
    "weeks?|months?|years?|dollars?|cents?|percent|points?"
)
# Only after a number: a unit that stands alone is the answer ("yard").
_UNIT_AFTER_NUMBER = re.compile(
    rf"(?<=[\d)}}])\s*(?:(?:{_UNITS})\b\.?\s*(?:\^\s*\{{?[23]\}}?)?\s*)+$", re.IGNORECASE
)
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ASSIGNMENT = re.compile(r"^\s*\\?[A-Za-z]{1,2}\s*=\s*")
_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s*\{\s*([^{}]*?)\s*\}")
_FRACTION = re.compile(r"-?(\d+)/(\d+)|-?\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_BARE_ARGUMENTS = re.compile(r"\\([dt]?)frac\s*(\d)\s*(\d)")  # LaTeX reads \frac12 as one half
_RATIO = re.compile(r"\s*(-?[\d.]+)\s*:\s*(-?[\d.]+)\s*")
_BRACKETED_WORD = re.compile(r"\(([A-Za-z0-9.]+)\)")


def geometry(answer: str, reference: str) -> float:
    """Equal values (decimals within rounding), ratios, or expressions; else equal as text."""
    given, wanted = (_bare(text, degree_sign=True) for text in (final_part(answer), reference))
    if not given:
        return 0.0
    if _squeezed(given) == _squeezed(wanted):
        return 1.0
    ours, theirs = (_ratio_or_value(text) for text in (given, wanted))
    if ours is not None and theirs is not None:
        return float(_close(ours, theirs))
    if not _symbolic(wanted) and words(given) == words(wanted):
        return 1.0  # a phrase
    return _by_algebra(given, wanted)


def study(answer: str, reference: str) -> float:
    """The study's equality with one reference, 0 or 1."""
    given, wanted = _bare(answer, degree_sign=False), _bare(reference, degree_sign=False)
    if not given:
        return 0.0
    if _squeezed(given) == _squeezed(wanted):
        return 1.0
    if _FRACTION.fullmatch(_squeezed(given)) and _FRACTION.fullmatch(_squeezed(wanted)):
        return 0.0 if _parts(given) != _parts(wanted) else 1.0  # unreduced fractions do not count
    ours, theirs = value(given), value(wanted)
    if ours is not None and theirs is not None:
        return float(abs(ours - theirs) <= 1e-9 * max(1.0, abs(theirs)))
    return _by_algebra(given, wanted)


def _by_algebra(given: str, wanted: str) -> float:
    """Computer algebra, for two answers that both look like formulas. Words never get there."""
    return float(_symbolic(given) and _symbolic(wanted) and latex.equal(given, wanted))


def _symbolic(text: str) -> bool:
    """Holds an operator or a LaTeX command and no word of three letters or more."""
    plain = re.sub(r"\\[A-Za-z]+", " ", text)
    return bool(re.search(r"\\[A-Za-z]|[=+*/^<>]|\d\s*[a-z]\b|\d\s*-|-\s*\d", text)) and not re.search(
        r"[^\W\d_]{3,}", plain
    )


def _bare(text: str, degree_sign: bool) -> str:
    """Without dollar signs, units after a number, thousands commas, `x =`, and a bracket around one word."""
    text = text.strip().replace("−", "-")
    while (plain := _TEXT.sub(r" \1 ", text)) != text:
        text = plain
    for mark in ("\\$", "$", "\\%", "%", "\\!", "\\,", "\\;", "\\left", "\\right"):
        text = text.replace(mark, "")
    text = _BARE_ARGUMENTS.sub(r"\\\1frac{\2}{\3}", _DEGREES.sub("", text))
    if degree_sign:
        text = text.replace("°", "").removesuffix(".")
    text = _THOUSANDS.sub("", _ASSIGNMENT.sub("", text)).strip()
    text = _UNIT_AFTER_NUMBER.sub("", text).strip()
    if found := _BRACKETED_WORD.fullmatch(text):
        text = found[1]
    return re.sub(r"\s*(<|>|/)\s*", r"\1", text)


def _squeezed(text: str) -> str:
    return "".join(text.split()).casefold().replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")


def _parts(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"-|\d+", text))


def _ratio_or_value(text: str) -> float | None:
    if found := _RATIO.fullmatch(text):
        over, under = value(found[1]), value(found[2])
        return over / under if over is not None and under else None
    return value(text)


def _close(ours: float, theirs: float) -> bool:
    """The same; a reference that is not whole may be rounded."""
    whole = abs(theirs - round(theirs)) < 1e-9
    return abs(ours - theirs) <= (1e-6 if whole else ROUNDING) * max(1e-9, abs(theirs))
