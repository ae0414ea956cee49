r"""The study's scorer for every task (arXiv 2507.05386): mathruler's `grade_answer`, and a few exceptions.

Where mathruler is installed it grades, in a worker process, as it may hang. Elsewhere `same` does: the same
rule in code of our own, with its strictness (`A.` is not `A`, 256/2 is not 128) and its habits (a unit
vanishes, `red, white` is "red and white", the fraction bar does not bracket a sum). Both are held against
each other by the tests. In either case what is plainly wrong does not count: letters multiplied as symbols
(`no` = `on`), units that vanish from words (`yard` = `feet`), "or" for "and", small numbers taken for whole
ones (1.6e-19 = 6.63e-34), an empty answer.
"""

from __future__ import annotations

import re

from holdfast.tasks.scorers import latex
from holdfast.tasks.scorers.value import value

LONGEST = 400  # characters; an answer that is longer counts only if it is the reference, letter by letter

_WHOLE_TEXT = re.compile(r"\\text\{(.+?)\}")
_DEGREES = re.compile(r"\^ *(?:\\circ|\{\\circ\})")
_POWERS = {"million": "*10^6", "billion": "*10^9", "trillion": "*10^12"}
_UNITS = re.compile(
    "(?:degree|centimeter|cm|meter|mile|second|minute|hour|day|week|month|year|foot|feet|inch|yard)"
    r"(?:es)?s? *(?:\^[0-9]+)?"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_FRACTION = re.compile(r"-?[0-9]+.?/0*[1-9][0-9]*.?")
_UNSAFE_POWER = re.compile(r"\^[({]|\^[0-9]+\^|\^[0-9][0-9]")
_EXPRESSION = re.compile(r"[0-9a-z.+\-*/^() ]+")
_ZERO_FIRST = re.compile(r"(?<![\w.])0+[1-9]\d*(?![\d.]|e\d)")  # Python, which mathruler asks, knows no 08

_COLOUR = re.compile(r"\\(?:text)?color *\{[^{}]*\}")
_CHARACTERS = str.maketrans({"π": "pi", "∞": "inf", "∪": "U", "·": "*", "×": "*", "~": " "})
_COMMAND = re.compile(r"\\(?:[A-Za-z]+ *|.|$)", re.DOTALL)
_ROOT = re.compile(r"\\sqrt *(?:\[[^\[\]{}]*\] *)?(?:\{([^{}]*)\}|([^\\{}]))")
_OVER = re.compile(r"\\[dt]?frac *(?:\{([^{}]*)\}|([^\\{} ])) *(?:\{([^{}]*)\}|([^\\{} ]))")
_SYMBOLS = {
    "pi": "pi", "cdot": "*", "times": "*", "infty": "inf", "cup": "U", "div": "÷", "pm": "±", "leq": "≤",
    "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠", "approx": "≈", "cong": "≅", "sim": "∼", "angle": "∠",
    "sqrt": "sqrt", "sin": "sin", "cos": "cos", "tan": "tan", "log": "log", "ln": "ln",
}  # fmt: skip
_KEPT = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "xi",
    "rho", "sigma", "tau", "phi", "psi", "omega", "Delta", "Phi", "Omega", "perp", "parallel", "circ",
    "therefore", "to", "rightarrow", "Rightarrow", "in", "cap", "subset", "emptyset", "forall", "exists",
    "partial",
}  # fmt: skip


def identity() -> str:
    """Which of the two grades, as a part of what determines a result."""
    version = latex.mathruler_version()
    return f"mathruler {version}" if version else "own"


def study(answer: str, reference: str) -> float:
    """The study's equality with one reference, 0 or 1."""
    given, wanted = _around_operators(answer), reference.strip()
    if not given:
        return 0.0
    if given == wanted:
        return 1.0
    if max(len(given), len(wanted)) > LONGEST or _plainly_wrong(given, wanted):
        return 0.0
    if latex.mathruler_version():
        return float(latex.equal(given, wanted, "mathruler"))
    return float(same(given, wanted))


def same(given: str, wanted: str) -> bool:
    """Equal in one of two forms, or by value, by our own code."""
    if _compact(given) == _compact(wanted):
        return True
    ours, theirs = _plain(given), _plain(wanted)
    if ours == theirs:
        return True
    given_parts, wanted_parts = _parts(ours), _parts(theirs)
    if len(given_parts) != len(wanted_parts):
        return False
    if len(wanted_parts) > 1 and (ours[0], ours[-1]) != (theirs[0], theirs[-1]):
        return False
    return all(map(_equal, given_parts, wanted_parts))


def _around_operators(text: str) -> str:
    """Without blanks around `<`, `>` and `/`, as the study's reward takes them away from a response."""
    return "".join(part.strip() for part in re.split(r"([<>/])", text))


def _plainly_wrong(given: str, wanted: str) -> bool:
    """Whether the two are numbers that differ, or the reference is words and the answer not the same ones."""
    try:
        ours, theirs = float(given), float(wanted)
        return abs(ours - theirs) > 1e-6 * max(abs(ours), abs(theirs))
    except ValueError:
        return _other_words(given, wanted)


def _other_words(given: str, wanted: str) -> bool:
    if re.search(r"\d", wanted) or _joined(given) == _joined(wanted):
        return False
    expected = _plain(wanted, units=True)
    if re.search(r"[^\w\s,.;:'()-]|_", expected) or ("sqrt" in expected or expected == "pi"):
        return False
    if any(one in given and other in wanted for one, other in ((" and ", " or "), (" or ", " and "))):
        return True
    name, equals, rest = given.partition("=")
    if equals and len(name) <= 2:
        given = rest
    return _plain(given, units=True).strip("()") != expected.strip("()")


def _joined(text: str) -> str:
    return "".join(text.split()).lower()


def _equal(ours: str, theirs: str) -> bool:
    if _FRACTION.fullmatch(ours) and _FRACTION.fullmatch(theirs):
        return ours == theirs  # 2/4 is not 1/2
    if _whole(ours) != _whole(theirs):
        return False  # a whole number is not to be worked out
    if not all(_EXPRESSION.fullmatch(text) for text in (ours, theirs)):
        return False
    letters = {letter for letter in re.sub("sqrt|frac", "", ours + theirs) if letter.isalpha()}
    if len(letters) > 2 or any(
        bad.search(ours) or bad.search(theirs) for bad in (_UNSAFE_POWER, _ZERO_FIRST)
    ):
        return False
    left, right = value(ours), value(theirs)
    if left is not None and right is not None:
        return abs(left - right) <= 1e-12 * max(abs(left), abs(right))
    return latex.equal(ours, theirs, "expressions")


def _compact(text: str) -> str:
    """The stricter form: LaTeX stays, blanks and marks go; text after a number is its unit."""
    if found := _WHOLE_TEXT.fullmatch(text):
        text = found[1].strip()
    whole = text
    for mark in ("\n", r"\!"):
        text = text.replace(mark, "")
    text = text.replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    for mark in (r"\left", r"\right", r"^{\circ}", r"^\circ", r"\$"):
        text = text.replace(mark, "")
    if text.count(r"\text{ ") > 1:
        return whole
    text = text.partition(r"\text{ ")[0].replace(r"\%", "").replace("%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    text = f"0{text}" if text.startswith(".") else text
    name, equals, rest = text.partition("=")
    if equals and "=" not in rest and len(name) <= 2:
        text = rest
    if text.endswith((r"\sqrt", r"\frac")):
        return whole
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac([^{])([^{])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac([^{])\{", r"\\frac{\1}{", text)
    if text == "0.5":
        return r"\frac{1}{2}"
    return re.sub(r"\A(-?(?:0|[1-9]\d*))/(-?(?:0|[1-9]\d*))\Z", r"\\frac{\1}{\2}", text)


def _plain(text: str, units: bool = False) -> str:
    """The laxer form: no LaTeX, no blanks, small letters; words that name units only if `units` stay."""
    if found := _WHOLE_TEXT.fullmatch(text):
        text = found[1]
    for mark in (r"\%", r"\$", "$", "%"):
        text = text.replace(mark, "")
    text = text.replace(" or ", " , ").replace(" and ", " , ")
    for word, power in _POWERS.items():
        text = text.replace(word, power)
    if not units:
        text = _UNITS.sub("", text)
    text = re.sub(r"\^ *\\circ", "", text)
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = _whole_number(re.sub(r",\\! *", "", text))
    if "\\" in text:
        text = _without_latex(text)
    text = re.sub(r"(?<=[0-9]) +(?=[0-9])", "+", re.sub("- *", "-", text))
    text = re.sub(r"[ {}]", "", text).lower()
    return _whole_number(_THOUSANDS.sub("", text)) if _whole(text) else text


def _without_latex(text: str) -> str:
    """Roots and fractions on the line, symbols as characters, what only sets type left out."""
    text = re.sub(r"([\^_])\{([^{}]*)\}", r"\1\2", _COLOUR.sub("", text)).translate(_CHARACTERS)
    text = text.replace("√(", "sqrt(")
    before = ""
    while before != text:  # one may hold the other, and only what holds neither is rewritten
        before = text
        for pattern, form in ((_ROOT, " sqrt({})"), (_OVER, " {}/{}")):
            text = pattern.sub(lambda found: form.format(*_given(found)), text)  # noqa: B023
    return _COMMAND.sub(_symbol, text).strip()


def _given(found: re.Match[str]) -> list[str]:
    return [part for part in found.groups() if part is not None]


def _symbol(found: re.Match[str]) -> str:
    name = found[0][1:].strip()
    if not name.isalpha():
        return " " if name in ("", "\\", ",", ";", ":") else ""
    return _SYMBOLS.get(name, f"«{name}»" if name in _KEPT else "")  # other commands only set type


def _whole(text: str) -> bool:
    return _rounded(_THOUSANDS.sub("", text)) is not None


def _whole_number(text: str) -> str:
    number = _rounded(text)
    return text if number is None else str(number)


def _rounded(text: str) -> int | None:
    """The whole number that a text says, within 1e-7; None where it says none."""
    try:
        number = float(text)
        return round(number) if abs(number - round(number)) <= 1e-7 else None
    except (ValueError, OverflowError):
        return None


def _parts(text: str) -> list[str]:
    """The elements of a tuple or interval, or the text itself."""
    text = _THOUSANDS.sub("", text)
    inner = text[1:-1]
    if len(text) > 2 and text[0] in "()[]" and text[-1] in "()[]" and not re.search(r"[()\[\]]", inner):
        return [part.strip() for part in inner.split(",")]
    return [text]
